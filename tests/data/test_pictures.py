"""Pictures as arrays: what is decoded, what is refused, and that resizing and laying over colours do not bleed."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from miaobi.core.errors import DataError, UsageError
from miaobi.data.pictures import Limits, contact_sheet, cut_out, decode, encode, fit, mime_of, over, picture_size, resize, rgba


def picture(height: int = 9, width: int = 12, seed: int = 0) -> Any:
    """RGBA noise with all degrees of opacity."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mime", ["image/png", "image/webp"])
@pytest.mark.parametrize("shape", ["rgba", "rgb", "grey", "opaque"])
def test_what_is_encoded_is_decoded_again(mime: str, shape: str) -> None:
    pixels = picture()
    pixels = {"rgba": pixels, "rgb": pixels[..., :3].copy(), "grey": pixels[..., 0].copy(), "opaque": rgba(pixels[..., :3].copy())}[shape]
    data = encode(pixels, mime)
    assert data == encode(pixels, mime)
    assert mime_of(data) == mime
    assert (decode(data) == rgba(pixels)).all()


def test_a_jpeg_is_laid_over_a_colour() -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    assert (decode(encode(pixels, "image/jpeg", background="#0000ff"))[8, 8] == [0, 0, 254, 255]).all()
    with pytest.raises(UsageError, match="image/jpeg"):
        encode(pixels, "image/gif")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_all_formats_are_read(kind: str) -> None:
    image = Image.new("RGB", (7, 5), (200, 30, 60))
    data = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    pixels = decode(data)
    assert pixels.shape == (5, 7, 4)
    assert np.abs(pixels[2, 3].astype(int) - [200, 30, 60, 255]).max() <= 3
    assert picture_size(data) == (7, 5)
    with pytest.raises(DataError, match="known formats: PNG"):
        decode(data[1:], limits=Limits(formats=("PNG",)))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = saved(
            frames[0], kind, save_all=True, append_images=frames[1:], duration=40, **({"lossless": True} if kind == "WEBP" else {})
        )
        assert (decode(data) == [255, 0, 0, 255]).all(), kind


def test_a_picture_is_turned_upright() -> None:
    image = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))  # red left of green
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    upright = decode(saved(image, "PNG", exif=exif))
    assert upright.shape == (2, 1, 4)
    assert (upright[:, 0, :3] == [[255, 0, 0], [0, 255, 0]]).all()


def test_damaged_exif_turns_nothing() -> None:
    assert decode(saved(Image.new("RGB", (3, 2), "red"), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff")).shape == (2, 3, 4)


def test_cmyk_is_not_inverted() -> None:
    for kind in ("JPEG", "TIFF"):
        pixels = decode(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind))
        assert pixels[4, 4, 0] > 200, kind
        assert pixels[4, 4, 1:3].max() < 60, kind


def test_an_embedded_profile_counts_and_a_damaged_one_does_not() -> None:
    image = Image.new("RGB", (4, 4), (100, 150, 200))
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(decode(saved(image, "PNG", icc_profile=same))[0, 0].astype(int) - [100, 150, 200, 255]).max() <= 1
    assert (decode(saved(image, "PNG", icc_profile=b"nonsense"))[0, 0] == [100, 150, 200, 255]).all()


def test_palettes_keep_their_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    assert (decode(saved(image, "PNG", transparency=1)) == [[[255, 0, 0, 255], [0, 255, 0, 0]]]).all()
    assert decode(saved(image, "GIF", transparency=1))[0, 1, 3] == 0


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    levels = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert (decode(saved(Image.fromarray(levels), "PNG"))[0, :, 0] == [0, 1, 128, 255]).all()
    assert (decode(saved(Image.fromarray(levels), "TIFF"))[0, :, 1] == [0, 1, 128, 255]).all()
    assert (decode(saved(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF"))[0, :, 2] == [0, 128, 255]).all()


def test_grey_with_alpha() -> None:
    assert (decode(saved(Image.new("LA", (2, 2), (90, 40)), "PNG")) == [90, 90, 90, 40]).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_picture_is_damaged(kind: str) -> None:
    whole = saved(Image.fromarray(picture(64, 64)[..., :3].copy()), kind)
    for share in (0.3, 0.6):
        with pytest.raises(DataError):
            decode(whole[: int(len(whole) * share)])


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"not a picture", b"\xff\xd8\xff\xe0", bytes(1000)]
)
def test_what_is_no_picture_is_said_so(data: bytes) -> None:
    with pytest.raises(DataError):
        decode(data)


def test_any_damage_is_a_data_error_or_a_picture() -> None:
    """Bytes turned at random: no other exception, no crash."""
    rng = np.random.default_rng(1)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = bytearray(saved(Image.fromarray(picture(24, 24)[..., :3].copy()), kind))
        for _ in range(40):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 6):
                damaged[place] = rng.integers(256)
            with contextlib.suppress(DataError):
                assert decode(bytes(damaged), limits=Limits(num_pixels=1_000_000)).shape[2] == 4


def test_sizes_are_refused_before_decoding() -> None:
    with pytest.raises(DataError, match=r"50000 by 50000|too many pixels"):
        decode(png_header(50_000, 50_000))
    with pytest.raises(DataError, match="40 by 30 pixels; at most 1000"):
        decode(png_header(40, 30), limits=Limits(num_pixels=1000))
    with pytest.raises(DataError):
        decode(png_header(0, 10))
    with pytest.raises(DataError, match="at most 10 are read"):
        decode(png_header(3, 3), limits=Limits(num_bytes=10))


def test_a_clear_pixel_has_no_colour() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (255, 0, 0, 255)
    pixels[:, 4:] = (0, 255, 0, 0)  # green that nobody sees
    for size in ((3, 3), (4, 4), (16, 16)):
        scaled = resize(pixels, size)
        seen = scaled[scaled[..., 3] > 0]
        assert (seen[:, 1] == 0).all(), size
        assert (seen[:, 0] >= 254).all(), size


def test_area_means() -> None:
    pixels = picture(8, 8)
    pixels[..., 3] = 255
    expected = pixels.reshape(4, 2, 4, 2, 4).astype(float).mean(axis=(1, 3))
    assert np.abs(resize(pixels, (4, 4)) - expected).max() <= 1
    assert (resize(pixels, (8, 8)) == pixels).all()


def test_over_a_background() -> None:
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    assert (over(pixels, "white") == [[[255, 0, 0], [255, 255, 255], [127, 127, 127]]]).all()
    assert (over(pixels, "#0a0b0c")[0, 1] == [10, 11, 12]).all()
    with pytest.raises(UsageError, match="unknown colour 'whit'"):
        over(pixels, "whit")


def test_fit() -> None:
    wide = rgba(np.full((10, 20, 3), 50, np.uint8))
    contained = fit(wide, 8)
    assert contained.shape == (8, 8, 4)
    assert (contained[:2, :, 3] == 0).all()
    assert (contained[2:6] == [50, 50, 50, 255]).all()
    assert (fit(wide, 8, "cover")[..., 3] == 255).all()
    assert fit(wide, (6, 3), "stretch").shape == (3, 6, 4)
    assert fit(rgba(np.zeros((1, 300, 3), np.uint8)), 8).shape == (8, 8, 4)


def test_a_plain_background_is_cut_out() -> None:
    ring = np.full((20, 30, 3), 250, np.uint8)
    ring[5:15, 5:15] = (200, 30, 30)
    ring[8:12, 8:12] = 250  # a hole is no background
    ring[0, 3] = 0  # nor is a speck on the edge
    found = cut_out(ring)
    assert (found[5:15, 5:15, 3] == 255).all()
    assert found[..., 3].sum() == 255 * (100 + 1)
    assert (found[5:15, 5:15, :3] == ring[5:15, 5:15]).all()
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert (cut_out(noise) == rgba(noise)).all()
    assert (cut_out(found) == found).all()
    assert (cut_out(np.full((4, 4, 3), 255, np.uint8)) == 255).all()


def test_contact_sheet() -> None:
    red, blue = (rgba(np.full((4, 4, 3), colour, np.uint8)) for colour in ((255, 0, 0), (0, 0, 255)))
    sheet = contact_sheet([red, blue, red], columns=2, size=4, gap=1)
    assert sheet.shape == (11, 11, 4)
    assert (sheet[2, 2] == [255, 0, 0, 255]).all()
    assert (sheet[2, 7] == [0, 0, 255, 255]).all()
    assert (sheet[7, 7] == 255).all()  # the empty cell
    assert contact_sheet([red], size=4, background="transparent")[0, 0, 3] == 0
