"""Losses, gradient penalties and the watch over collapse, against sums done by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from miaobi.models.gan.game import (  # noqa: E402
    NEIGHBOURS,
    Rule,
    Watch,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    recall,
    thumbnails,
)


def test_the_relativistic_loss_sees_differences_only() -> None:
    real, made = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    found = discriminator_loss("relativistic", real, made)
    assert found.tolist() == pytest.approx([math.log1p(math.exp(-0.5)), math.log1p(math.exp(5.0))], rel=1e-5)
    assert torch.allclose(discriminator_loss("relativistic", real + 7, made + 7), found, atol=1e-5)
    assert torch.allclose(generator_loss("relativistic", real, made), discriminator_loss("relativistic", made, real))


@pytest.mark.parametrize("rule", ["relativistic", "logistic", "hinge"])
def test_the_players_pull_apart(rule: Rule) -> None:
    real, made = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    discriminator_loss(rule, real, made).sum().backward()
    assert (real.grad < 0).all(), "real pictures are scored higher"
    assert (made.grad > 0).all()
    made.grad = None
    generator_loss(rule, real.detach(), made).sum().backward()
    assert (made.grad < 0).all(), "the generator wants the opposite"


def test_a_gradient_penalty_is_that_of_a_known_function_and_can_be_learned_from() -> None:
    """The score sum(w x^2) has the gradient 2 w x, squared length 4 sum (w x)^2, whose derivative by w is 8 sum w x^2."""
    pictures = torch.randn(4, 1, 3, 3, requires_grad=True)
    weight = torch.tensor(0.7, requires_grad=True)
    penalty = gradient_penalty((weight * pictures.square()).sum((1, 2, 3)), pictures)
    squares = pictures.detach().square().sum((1, 2, 3))
    assert torch.allclose(penalty, 4 * 0.49 * squares, rtol=1e-4)
    penalty.sum().backward()
    assert weight.grad.item() == pytest.approx(8 * 0.7 * squares.sum().item(), rel=1e-4)


def test_recall_falls_with_the_share_of_modes_that_are_made() -> None:
    torch.manual_seed(0)
    modes = 10 * torch.randn(8, 6)
    real = modes.repeat_interleave(8, 0) + 0.1 * torch.randn(64, 6)
    shares = []
    for kept in (8, 4, 1):
        made = modes[:kept].repeat_interleave(64 // kept, 0) + 0.1 * torch.randn(64, 6)
        shares.append(recall(real, made))
    assert shares[0] > 0.7
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] <= 1 / 8


def test_recall_is_what_a_loop_finds() -> None:
    torch.manual_seed(1)
    real, made = torch.randn(12, 3), torch.randn(9, 3)
    inside = 0
    for row in real:
        for centre in made:
            radius = sorted(float((centre - other).norm()) for other in made)[NEIGHBOURS]
            if float((row - centre).norm()) <= radius:
                inside += 1
                break
    assert recall(real, made) == pytest.approx(inside / 12)


def test_the_watch_knows_a_collapse_from_a_healthy_generator() -> None:
    torch.manual_seed(0)
    healthy, collapsed = Watch(), Watch()
    for _ in range(20):
        real = torch.rand(32, 1, 16, 16)
        healthy.look(real, torch.rand(32, 1, 16, 16))
        one = torch.rand(1, 1, 16, 16) + 0.001 * torch.rand(32, 1, 16, 16)
        collapsed.look(real, one)
    assert healthy.recall > 0.5
    assert healthy.diversity == pytest.approx(1, abs=0.05)
    assert collapsed.recall < 0.05
    assert collapsed.diversity < 0.05


def test_a_batch_too_small_to_judge_is_passed_over() -> None:
    watch = Watch()
    assert watch.look(torch.rand(NEIGHBOURS, 1, 8, 8), torch.rand(NEIGHBOURS, 1, 8, 8)) == {}
    assert watch.seen == 0
    assert thumbnails(torch.rand(2, 3, 28, 28)).shape == (2, 3 * 64)
    assert thumbnails(torch.rand(2, 3, 6, 6)).shape == (2, 3 * 36)
