"""The invisible watermark: what it survives, what it costs, and that its p-value is honest about pictures that have none."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from miaobi.trust import watermark
from miaobi.trust.watermark import BITS, detect, embed

Pixels = NDArray[np.uint8]
PAYLOAD = 0x1234_5678_9ABC_DEF0


def natural(size: int, seed: int) -> Pixels:
    """Colours with the spectrum of photographs: amplitude falls with frequency to the power 1.2."""
    rng = np.random.default_rng(seed)
    axis = np.fft.fftfreq(size)
    radius = np.hypot(axis[:, None], axis)
    radius[0, 0] = 1 / size
    planes = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / radius**1.2).real for _ in range(3)]
    colours = np.dstack([128 + 50 * plane / plane.std() for plane in planes])
    return np.dstack([np.clip(colours, 0, 255).astype(np.uint8), np.full((size, size), 255, np.uint8)])


def icon(size: int, seed: int) -> Pixels:
    """Flat, saturated discs with hard edges on white: the hardest case, since white cannot become lighter."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGBA", (size, size), "white")
    canvas = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, spread = (int(number) for number in rng.integers(0, size, 3))
        colour = tuple(int(number) for number in rng.integers(0, 256, 3))
        canvas.ellipse([x - spread // 3, y - spread // 3, x + spread // 3, y + spread // 3], fill=(*colour, 255))
    return np.asarray(image)


def psnr(before: Pixels, after: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((before[..., :3].astype(float) - after[..., :3]) ** 2)))


def jpeg(pixels: Pixels, quality: int = 75) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGBA"))


def resized(pixels: Pixels, factor: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)), Image.BICUBIC))


@pytest.mark.parametrize("make", [natural, icon])
@pytest.mark.parametrize("size", [128, 256])
def test_it_survives_jpeg_and_resizing(make: Callable[[int, int], Pixels], size: int) -> None:
    for seed in range(4):
        before = make(size, seed)
        marked = embed(before, PAYLOAD)
        assert psnr(before, marked) >= 37
        attacks = {"none": marked, "jpeg": jpeg(marked), "resize": resized(marked, 0.75), "both": jpeg(resized(marked, 0.75))}
        for name, attacked in attacks.items():
            found = detect(attacked)
            lost = 0 if name == "none" or make is natural or size > 128 else 2 if name != "both" else 5
            assert found.p_value < 1e-20
            assert found.agreeing(PAYLOAD) >= BITS - lost
            assert found.carries(PAYLOAD)
            assert not found.carries(PAYLOAD ^ 0xFFFF)
            assert found.size == (size, size)


@pytest.mark.parametrize(("make", "bits"), [(natural, 62), (icon, 44)])
def test_at_64_pixels_it_is_read_as_it_is_but_worn_by_jpeg(make: Callable[[int, int], Pixels], bits: int) -> None:
    """One block a bit: without an attack nearly all bits, after JPEG most of them, and the p-value says how far to trust them."""
    for seed in range(4):
        marked = embed(make(64, seed), PAYLOAD)
        assert detect(marked).found
        assert detect(marked).agreeing(PAYLOAD) >= 60
        assert detect(jpeg(marked)).agreeing(PAYLOAD) >= bits
        assert detect(jpeg(marked)).p_value < 1e-2


def test_below_64_pixels_there_is_no_room() -> None:
    for side in (2, 7, 8, 32, 48):
        before = natural(side, 0)
        assert embed(before, PAYLOAD).shape == before.shape
        assert not detect(embed(before, PAYLOAD)).carries(PAYLOAD)


def test_the_p_value_is_uniform_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over keys, a share of p of the p-values is below p; white paper and a gradient, which fool tests without dither, among them."""
    white = np.full((64, 64, 4), 255, np.uint8)
    ramp = white.copy()
    ramp[..., :3] = np.linspace(0, 255, 64).astype(np.uint8)[:, None]
    for pixels in (white, ramp, natural(64, 0), icon(64, 0)):
        assert not detect(pixels).found
        values = []
        for key in range(200):
            monkeypatch.setattr(watermark, "_KEY", key)
            values.append(watermark._read(pixels, (64, 64)).p_value)
        monkeypatch.undo()
        assert min(values) > 1e-4
        for share in (0.05, 0.2, 0.5):
            assert abs((np.array(values) < share).mean() - share) < 4 * np.sqrt(share * (1 - share) / len(values))


def test_another_payload_is_another_mark() -> None:
    before = natural(128, 3)
    one, two = embed(before, PAYLOAD), embed(before, ~PAYLOAD & (1 << 64) - 1)
    assert detect(one).agreeing(PAYLOAD) == 64
    assert detect(two).agreeing(PAYLOAD) == 0
    assert watermark.payload_of("a", "b", 0) != watermark.payload_of("a", "b", 1)
    assert detect(one).describe() == watermark.describe(PAYLOAD) == "dwt-svd-1:123456789abcdef0"


def test_clear_pixels_stay_clear_and_a_half_clear_picture_keeps_its_mark() -> None:
    before = natural(256, 1).copy()
    before[:128, :, 3] = 0
    marked = embed(before, PAYLOAD)
    assert (marked[:120] == before[:120]).all()
    assert (marked[..., 3] == before[..., 3]).all()
    assert detect(marked).agreeing(PAYLOAD) == BITS


def test_odd_sizes_and_an_oblong() -> None:
    wide = np.concatenate([natural(131, 5), natural(131, 6)], axis=1)
    assert detect(embed(wide, PAYLOAD)).agreeing(PAYLOAD) == BITS
    assert detect(resized(embed(wide[:128, :256], PAYLOAD), 0.75)).agreeing(PAYLOAD) == BITS


def test_a_crop_is_not_survived() -> None:
    """What the module says it cannot do."""
    assert not detect(embed(natural(128, 2), PAYLOAD)[3:, 5:]).found
