"""Exported networks: equal to torch in every precision, for any batch, condition and (UNet) size; damaged or wrong ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.core.errors import ArtifactError
from miaobi.models.common import picture_graph
from miaobi.models.common.dit import DiT
from miaobi.models.common.picture_config import DiTConfig, UNetConfig
from miaobi.models.common.picture_nodes import scale_of, seven_bits
from miaobi.models.common.picture_runtime import PictureRuntime, find
from miaobi.models.common.unet import UNet

UNET = {"channels": 3, "widths": (16, 32), "blocks": 1, "attention": (1,), "groups": 8, "head_width": 8}
DIT = {"channels": 3, "width": 64, "heads": 4, "layers": 2}
CONDITIONS = {"vector_width": 5, "token_width": 12}
CONFIGS: dict[str, UNetConfig | DiTConfig] = {
    "unet": UNetConfig(**UNET, in_channels=6),
    "unet, conditions": UNetConfig(**UNET, **CONDITIONS),
    "dit": DiTConfig(**DIT),
    "dit, cross": DiTConfig(**DIT, **CONDITIONS),
    "dit, prefix": DiTConfig(**DIT, **CONDITIONS, tokens="prefix"),
}
PRECISIONS = ("fp32", "fp16", "int8")


def network_of(config: UNetConfig | DiTConfig) -> UNet | DiT:
    """Every weight moves, so that nothing is silent."""
    network = UNet(config) if isinstance(config, UNetConfig) else DiT(config)
    generator = torch.Generator().manual_seed(3)
    network.initialise(generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return network.eval()


def inputs_of(
    config: UNetConfig | DiTConfig, time: float, *, rows: int = 2, size: tuple[int, int] = (8, 8), masked: bool
) -> dict[str, Any]:
    rng = np.random.default_rng(int(100 * time))
    inputs: dict[str, Any] = {
        "x": rng.standard_normal((rows, config.inputs, *size)).astype(np.float32),
        "time": np.full(rows, time, dtype=np.float32),
    }
    if config.vector_width:
        inputs["vector"] = rng.standard_normal((rows, config.vector_width)).astype(np.float32)
        inputs["tokens"] = rng.standard_normal((rows, 3, config.token_width)).astype(np.float32)
    if masked:
        inputs["mask"] = np.arange(3) < rng.integers(0, 4, (rows, 1))
    return inputs


def predict(network: UNet | DiT, inputs: dict[str, Any]) -> np.ndarray:
    with torch.no_grad():
        return network(**{key: torch.from_numpy(np.asarray(value)) for key, value in inputs.items()}).numpy()


@pytest.mark.parametrize(("name", "masked"), [(name, masked) for name in CONFIGS for masked in (False, True)[: 1 + (", " in name)]])
def test_a_graph_predicts_what_the_network_predicts(name: str, masked: bool, tmp_path: Path) -> None:
    config = CONFIGS[name]
    network = network_of(config)
    samples = [inputs_of(config, time, masked=masked) for time in (0.05, 0.3, 0.6, 1.0)]
    errors = picture_graph.export(network, tmp_path, samples=samples, precisions=PRECISIONS, masked=masked)
    assert errors["fp32"] < 1e-5
    assert errors["fp16"] < 2e-3
    assert errors["int8"] < 0.1
    sizes = [find(tmp_path, precisions=[precision]).stat().st_size for precision in PRECISIONS]
    assert sizes[0] > sizes[1] > sizes[2]
    runtime = PictureRuntime(find(tmp_path, precisions=["fp32"]))
    size = (16, 24) if isinstance(config, UNetConfig) else (8, 8)
    assert runtime.size == (None if isinstance(config, UNetConfig) else size)
    other = inputs_of(config, 0.45, rows=3, size=size, masked=masked)
    np.testing.assert_allclose(runtime(**other), predict(network, other), atol=2e-5)
    without = {"x": other["x"], "time": other["time"]}
    np.testing.assert_allclose(runtime(other["x"], 0.45), predict(network, without), atol=2e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["unet, conditions", "dit, cross"])
def test_a_picture_does_not_depend_on_its_batch(name: str, precision: Any, tmp_path: Path) -> None:
    config = CONFIGS[name]
    samples = [inputs_of(config, time, rows=3, masked=False) for time in (0.1, 0.9)]
    picture_graph.export(network_of(config), tmp_path, samples=samples, precisions=[precision])
    runtime = PictureRuntime(find(tmp_path))
    alone = runtime(**{key: value[:1] for key, value in samples[0].items()})
    np.testing.assert_allclose(runtime(**samples[0])[:1], alone, atol=1e-5 if precision != "int8" else 1e-2)


def test_a_graph_that_is_too_far_off_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS["dit"]
    monkeypatch.setitem(picture_graph.TOLERANCE, "int8", 1e-6)
    with pytest.raises(ArtifactError, match="int8"):
        picture_graph.export(network_of(config), tmp_path, samples=[inputs_of(config, 0.5, masked=False)], precisions=["int8"])
    with pytest.raises(ArtifactError, match="miaobi export"):
        find(tmp_path)


def test_a_damaged_graph_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ArtifactError, match=r"network\.onnx"):
        PictureRuntime(path)


def test_seven_bits_are_near_and_never_overflow_the_sum_of_two_products() -> None:
    weights = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    weights[3] = 0
    values, scales = seven_bits(weights)
    assert np.abs(values.astype(np.int32)).max() * 255 * 2 < 2**15
    np.testing.assert_allclose(values * scales.reshape(-1, 1, 1, 1), weights, atol=np.abs(weights).max() / 126 + 1e-6)
    for low, high in ((-0.3, 5.0), (0.0, 1.0), (-2.0, -1.0), (0.0, 0.0)):
        scale, zero = scale_of(low, high)
        assert 0 <= zero <= 255
        assert (255 - zero) * scale >= high - scale
