"""Every metric of pictures against a hand-computed value or a reference, and noise ranks behind pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from miaobi.core.errors import MiaobiError
from miaobi.engine.features import outlines
from miaobi.engine.metrics.confidence import difference, ratio, statistic_between
from miaobi.engine.metrics.frechet import frechet_distance, kernel_distance
from miaobi.engine.metrics.likeness import psnr, squared_error, ssim
from miaobi.engine.metrics.manifold import closer, coverage, density, nearest, precision, radii, recall
from miaobi.engine.metrics.probe import fit
from miaobi.engine.metrics.retrieval import top1, unbeaten

Floats = NDArray[np.float64]
Between = Callable[[Floats, Floats], float]


def cloud(count: int, *, at: float = 0.0, spread: float = 1.0, seed: int = 0, width: int = 6) -> Floats:
    return np.random.default_rng(seed).normal(at, spread, (count, width))


def line(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)[:, None]


# ---------------------------------------------------------------- distances between sets


@pytest.mark.parametrize(("n", "m", "width"), [(40, 60, 5), (9, 12, 30), (50, 8, 20)])
def test_frechet_is_that_of_the_matrix_root(n: int, m: int, width: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = cloud(n, width=width) @ cloud(width, seed=7, width=width), cloud(m, at=0.3, spread=2, seed=1, width=width)
    covariances = [np.cov(x, rowvar=False) + 0j for x in (a, b)]
    root = linalg.sqrtm(covariances[0] @ covariances[1] + 1e-12 * np.eye(width))
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root).real
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-3 if min(n, m) <= width else 1e-7)


def test_frechet_by_hand() -> None:
    assert frechet_distance(line(-1, 1), line(2, 4)) == pytest.approx(9.0)  # the same spread, three apart
    assert frechet_distance(line(-1, 1), line(-3, 3)) == pytest.approx((np.sqrt(2) - np.sqrt(18)) ** 2)  # (σ - σ')²
    x = cloud(30)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(4 * 6)


def test_kernel_distance_is_the_mean_over_pairs() -> None:
    a, b = cloud(5, width=3), cloud(7, at=1, seed=1, width=3)

    def kernel(x: Floats, y: Floats) -> float:
        return float((x @ y / 3 + 1) ** 3)

    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(s, 2)]) for s in (a, b)]
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(within) - 2 * across)


def test_kernel_distance_has_no_bias_and_frechet_does() -> None:
    same = [(cloud(12, seed=2 * trial), cloud(12, seed=2 * trial + 1)) for trial in range(400)]
    kernels = np.array([kernel_distance(a, b) for a, b in same])
    assert abs(kernels.mean()) < 3 * kernels.std() / 20
    assert (kernels < 0).any()
    assert np.mean([frechet_distance(a, b) for a, b in same]) > 1


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_rank_a_shift_and_a_collapse(distance: Between) -> None:
    real = cloud(200)
    near, far, collapsed = cloud(200, seed=1), cloud(200, at=1, seed=2), cloud(200, spread=0.2, seed=3)
    assert distance(real, near) < distance(real, collapsed) < distance(real, far)
    with pytest.raises(MiaobiError, match="at least two"):
        distance(real, real[:1])


def test_sets_get_intervals_that_hold_the_truth_and_differences_that_are_real() -> None:
    inside = 0
    for trial in range(40):
        figure = statistic_between(kernel_distance, cloud(60, seed=trial), cloud(60, seed=1000 + trial), seed=trial)
        assert figure.low is not None
        assert figure.high is not None
        inside += figure.low <= 0 <= figure.high  # the truth: both come from one distribution
    assert inside >= 34
    real = cloud(80)
    figures = [statistic_between(frechet_distance, cloud(80, at=at, seed=1), real, better="lower") for at in (0.0, 0.0, 1.0)]
    assert difference(figures[0], figures[1]).p_value == 1.0
    gap = difference(figures[0], figures[2])
    assert gap.significant
    assert gap.value == figures[0].value - figures[2].value
    assert gap.low <= gap.value <= gap.high < 0
    assert "wins" not in gap.to_dict()


def test_a_cut_to_fewer_does_not_narrow_the_interval() -> None:
    a, b = cloud(400, width=2), cloud(400, seed=1, width=2)
    wide, cut = (statistic_between(lambda x, y: float(x.mean() - y.mean()), a, b, draws=400, most=most) for most in (500, 40))
    assert wide.draws is not None
    assert cut.draws is not None
    assert wide.draws.std() == pytest.approx(np.sqrt(2 / 800), rel=0.2)
    assert cut.draws.std() == pytest.approx(wide.draws.std(), rel=0.2)


def test_records_that_are_not_paired_are_resampled_by_themselves() -> None:
    a, b = ratio(cloud(90, at=1, width=1)[:, 0], better="higher"), ratio(cloud(60, seed=1, width=1)[:, 0], better="higher")
    gap = difference(a, b, paired=False)
    assert gap.significant
    assert gap.test == "bootstrap of each"
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * np.sqrt(1 / 90 + 1 / 60), rel=0.25)


# ---------------------------------------------------------------- neighbourhoods


def test_balls_reach_to_the_kth_other() -> None:
    assert radii(line(0, 1, 3, 7), 1).tolist() == [1, 1, 2, 4]
    assert radii(line(0, 1, 3, 7), 2).tolist() == [3, 2, 3, 6]
    with pytest.raises(MiaobiError, match="more than 3 pictures on either side; there are 3"):
        radii(line(0, 1, 3), 3)


def test_precision_recall_density_and_coverage_by_hand() -> None:
    real, made = line(0, 1, 3, 7), line(0.5, 1.5, 12)
    # balls of the real, k = 1: [-1, 1], [0, 2], [1, 5], [3, 11]; of the made: [-0.5, 1.5], [0.5, 2.5], [1.5, 22.5]
    assert precision(made, real, k=1).tolist() == [1, 1, 0]
    assert recall(made, real, k=1).tolist() == [1, 1, 1, 1]
    assert density(made, real, k=1).tolist() == [2, 2, 0]  # 0.5 lies in two balls, 1.5 in two
    assert coverage(made, real, k=1).tolist() == [1, 1, 1, 0]


def test_density_and_coverage_of_real_pictures_are_what_theory_says() -> None:
    real, other = cloud(600), cloud(600, seed=1)
    assert density(other, real).mean() == pytest.approx(1, abs=0.1)
    assert coverage(other, real).mean() == pytest.approx(1 - 0.5**5, abs=0.03)  # 1 - C(...) → 1 - 2⁻ᵏ for equal sizes


def test_a_collapse_shows_in_recall_and_noise_in_precision() -> None:
    real = cloud(150)
    collapsed, noise = cloud(150, spread=0.1, seed=1), cloud(150, spread=6, seed=2)
    assert precision(collapsed, real).mean() > 0.9 > 0.3 > recall(collapsed, real).mean()
    assert precision(noise, real).mean() < 0.1
    assert coverage(collapsed, real).mean() < 0.3
    assert density(noise, real).mean() < 0.1


def test_the_nearest_of_a_set_also_when_it_is_nearly_the_same() -> None:
    known = cloud(700, at=50.0)
    queries = known[[600, 3]] + np.array([[1e-7], [0.0]])
    places, gaps = nearest(queries, known)
    assert places.tolist() == [600, 3]
    assert gaps == pytest.approx([1e-7 * np.sqrt(6), 0], rel=1e-4)


def test_closer_is_mann_and_whitneys_u() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = np.round(cloud(30, width=1)[:, 0], 1), np.round(cloud(40, at=0.5, seed=1, width=1)[:, 0], 1)
    assert closer(a, b).mean() == pytest.approx(stats.mannwhitneyu(b, a).statistic / 1200)
    assert closer(np.array([1.0, 2.0]), np.array([2.0, 3.0])).tolist() == [1, 0.75]


# ---------------------------------------------------------------- retrieval and the probe


def test_top1_is_the_mean_over_all_draws() -> None:
    likeness = np.array([0.9, 0.95, 0.1, 0.2, 0.3])  # of one query to five candidates; the first is its own
    draws = list(itertools.combinations(range(1, 5), 2))
    wanted = np.mean([all(likeness[other] < likeness[0] for other in others) for others in draws])
    assert unbeaten(1, 4, 3) == pytest.approx(wanted)
    assert unbeaten(0, 2, 100) == 1


def test_retrieval_finds_what_belongs_together_and_nothing_in_noise() -> None:
    texts = cloud(300, width=16)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    keys = [f"k{number}" for number in range(300)]
    assert top1(texts, texts, keys).mean() == 1
    assert top1(texts, cloud(300, seed=1, width=16), keys).mean() == pytest.approx(0.01, abs=0.02)
    alike = np.tile(texts[:1], (300, 1))
    assert top1(texts, alike, keys).sum() == 0  # a picture that is always the same shows nothing
    order = np.random.default_rng(0).permutation(300)
    noisy = texts + cloud(300, spread=0.3, seed=2, width=16)
    assert np.array_equal(top1(texts[order], noisy[order], [keys[i] for i in order]), top1(texts, noisy, keys)[order])


def test_pictures_of_the_same_thing_are_no_wrong_answers() -> None:
    texts = np.eye(4)[[0, 0, 1, 2]]
    assert top1(texts, texts, ["cat", "cat", "dog", "sun"], among=3).tolist() == [1, 1, 1, 1]
    assert top1(texts, texts, ["cat", "kitten", "dog", "sun"], among=4).tolist() == [0, 0, 1, 1]


def test_a_probe_learns_and_says_what_it_sees() -> None:
    names = [f"style {number % 3}" for number in range(240)]
    centres = cloud(3, spread=2, seed=5, width=40)
    x = centres[[number % 3 for number in range(240)]] + cloud(240, seed=6, width=40)
    probe = fit(x[:120], names[:120])
    assert np.mean([a == b for a, b in zip(probe(x[120:]), names[120:], strict=True)]) > 0.95
    shuffled = fit(cloud(120, width=40), names[:120])
    assert np.mean([a == b for a, b in zip(shuffled(x[120:]), names[120:], strict=True)]) < 0.7
    with pytest.raises(MiaobiError, match="at least two classes"):
        fit(x, ["one"] * 240)


def test_outlines_tell_shapes_apart_under_grain() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28] - 13.5

    def shape(number: int, grain: float) -> NDArray[np.uint8]:
        size = rng.uniform(6, 11)
        inside = [np.hypot(x, y) < size, np.maximum(abs(x), abs(y)) < size, abs(x) + abs(y) < size, abs(x) < size / 3][number % 4]
        grey = np.clip(np.where(inside, 230, 20) + grain * rng.normal(size=(28, 28)), 0, 255)
        return np.dstack([grey, grey, grey, np.full((28, 28), 255)]).astype(np.uint8)

    probe = fit(outlines([shape(number, 0) for number in range(200)]), [str(number % 4) for number in range(200)])
    assert probe.known > 0.9
    found = probe(outlines([shape(number, 60) for number in range(80)]))
    assert np.mean([name == str(number % 4) for number, name in enumerate(found)]) > 0.85
    assert np.isfinite(outlines([np.zeros((5, 9, 4), np.uint8)])).all()
    assert outlines([]).shape == (0, 2048)


def test_left_out_answers_are_those_of_a_fit_without_the_picture() -> None:
    from miaobi.engine.metrics import probe

    x, places = cloud(14, width=4), np.array([0, 1] * 7)
    targets = np.eye(2)[places]
    bias = targets.mean(axis=0)
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    found = probe._left_out(left, values, left.T @ (targets - bias), targets - bias, places, bias, 0.1)
    right = 0
    for out in range(14):
        rest = np.arange(14) != out
        weights = np.linalg.solve(x[rest].T @ x[rest] + 1.4 * np.eye(4), x[rest].T @ (targets - bias)[rest])
        right += (x[out] @ weights + bias).argmax() == places[out]
    assert found == pytest.approx(right / 14)


# ---------------------------------------------------------------- two pictures


def grey(value: int, side: int = 12) -> NDArray[np.uint8]:
    return np.full((side, side, 4), (value, value, value, 255), np.uint8)


def test_squared_error_and_psnr_by_hand() -> None:
    assert squared_error(grey(0), grey(255)) == 1
    assert squared_error(grey(255), np.zeros((12, 12, 4), np.uint8)) == 0  # both are white
    assert psnr(squared_error(grey(100), grey(151))) == pytest.approx(20 * np.log10(5))
    assert psnr(0.0) == 100


def test_ssim_is_the_papers() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    a = np.dstack([rng.integers(0, 256, (20, 17, 3), dtype=np.uint8), np.full((20, 17), 255, np.uint8)])
    b = np.where(rng.random((20, 17, 1)) < 0.5, a, grey(128, 20)[:, :17])

    def blur(x: Floats) -> Floats:
        return np.dstack([ndimage.gaussian_filter(x[..., c], 1.5, truncate=3.5) for c in range(3)])

    x, y = a[..., :3] / 255, b[..., :3] / 255
    mx, my = blur(x), blur(y)
    sx, sy, sxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    wanted = ((2 * mx * my + 1e-4) * (2 * sxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (sx + sy + 9e-4))).mean()
    assert ssim(a, b) == pytest.approx(wanted)
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(grey(0), grey(255)) == pytest.approx(1e-4 / 1.0001)
    assert ssim(grey(5, 3), grey(5, 3)) == pytest.approx(1)  # smaller than the window
