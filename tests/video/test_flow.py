"""Flows move pictures as they say, at any size, and what moved in a clip is found again."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.models.video import flow


def disc(size: int, x: float, y: float, radius: float = 0.4) -> np.ndarray:
    """A disc around (x, y), in coordinates from -1 to 1, as (size, size, 4) in [0, 1]."""
    down, across = flow.places(size, size)
    away = np.hypot(across[None] - x, down[:, None] - y)
    cover = np.clip((radius - away) * size / 2 + 0.5, 0, 1).astype(np.float32)
    return np.repeat(cover[..., None], 4, axis=-1)


def centre(frame: np.ndarray) -> tuple[float, float]:
    """The centre of mass (x, y), in coordinates from -1 to 1."""
    down, across = flow.places(*frame.shape[:2])
    mass = frame[..., 0]
    return float((mass * across).sum() / mass.sum()), float((mass * down[:, None]).sum() / mass.sum())


def test_no_flow_changes_nothing() -> None:
    picture = np.random.default_rng(0).random((12, 20, 4), dtype=np.float32)
    assert np.allclose(flow.warp(picture, np.zeros((3, 2, 4, 4), np.float32)), picture, atol=1e-6)


@pytest.mark.parametrize("size", [32, 100])
def test_a_flow_moves_against_its_sign_at_any_size(size: int) -> None:
    """Frame f shows at p what was at p + flow: a flow to the left moves the picture to the right."""
    away = np.zeros((1, 2, 8, 8), np.float32)
    away[:, 0], away[:, 1] = -0.2, 0.1
    assert centre(flow.warp(disc(size, 0, 0), away)[0]) == pytest.approx((0.2, -0.1), abs=0.01)


def test_a_wide_picture_moves_in_the_middle_of_its_square() -> None:
    tall = np.zeros((1, 2, 2, 2), np.float32)
    tall[:, 1, 0] = 0.5  # only the upper half moves up
    picture = np.repeat(np.linspace(0, 1, 8, dtype=np.float32)[:, None, None], 4, axis=1).repeat(4, axis=2)
    moved = flow.warp(np.concatenate([picture] * 4, axis=1), tall)[0]
    assert moved.shape == (8, 16, 4)
    assert (moved[0, :, 0] > picture[0, 0, 0]).all()
    assert np.allclose(moved[-1, :, 0], 1.0)


def test_weights_of_cells_add_up_and_agree_with_torch() -> None:
    torch = pytest.importorskip("torch")
    at, _ = flow.places(16, 16)
    weights = flow.spread(at, 4)
    assert np.allclose(weights.sum(1), 1, atol=1e-6)
    values = np.random.default_rng(0).standard_normal((1, 1, 4, 4)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(values), size=(16, 16), mode="bicubic", align_corners=False)[0, 0].numpy()
    assert np.allclose(weights @ values[0, 0] @ weights.T, theirs, atol=1e-5)


def test_frames_between_lie_on_a_curve_that_closes() -> None:
    angle = 2 * np.pi * np.arange(16) / 16
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)[..., None, None].astype(np.float32)
    finer = flow.between(circle, 4, loop=True)
    assert finer.shape == (64, 2, 1, 1)
    assert (finer[::4] == circle).all()
    wanted = 2 * np.pi * np.arange(64) / 64
    assert np.allclose(finer[:, 0, 0, 0], np.cos(wanted), atol=2e-3)
    assert np.allclose(finer[:, 1, 0, 0], np.sin(wanted), atol=2e-3)  # the seam as well
    line = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1)
    assert np.allclose(flow.between(line, 2, loop=False)[:, 0, 0, 0], np.arange(9) / 2, atol=0.07)


def test_what_moved_is_found() -> None:
    torch = pytest.importorskip("torch")
    from miaobi.models.video.registration import measure
    from miaobi.models.video.registration import warp as torch_warp

    steps = [(0.0, 0.0), (0.08, 0.0), (0.16, 0.05), (0.2, 0.1)]
    frames = np.stack([disc(32, x, y) for x, y in steps])
    clip = torch.from_numpy(np.moveaxis(frames, -1, 1))[None]
    found = measure(clip, 4)
    assert found.shape == (1, 4, 2, 4, 4)
    assert (found[:, 0] == 0).all()
    moved = flow.warp(frames[0], found[0].numpy())
    for number, (x, y) in enumerate(steps):
        assert centre(moved[number]) == pytest.approx((x, y), abs=0.03)
    still = ((frames - frames[:1]) ** 2).mean()
    assert ((moved - frames) ** 2).mean() < 0.1 * still
    theirs = torch_warp(clip[0, :1].expand(4, -1, -1, -1), found[0]).permute(0, 2, 3, 1).numpy()
    assert np.abs(theirs - moved).max() < 1e-4


def test_smoothing_keeps_swings_and_the_first_frame() -> None:
    angle = 2 * np.pi * np.arange(16) / 16
    swing, trembling = np.sin(angle) + 0.5 * np.cos(2 * angle), np.cos(6 * angle)
    moments = flow.smoothing(16, 2)
    assert np.allclose(moments @ (swing + trembling), swing - swing[0], atol=1e-5)
    assert np.allclose(moments @ moments, moments, atol=1e-5)  # done twice it is done
