"""Pictures as arrays: decoded within limits, resized with their transparency, laid over a colour, encoded again.

Everywhere a picture is (height, width, 4) uint8, RGBA with straight alpha. Bytes from outside are not trusted: formats are named, sizes
are checked in the header before a pixel is made, and whatever a decoder raises over damaged bytes becomes a `DataError`. Colours are
averaged weighted by their opacity (Porter and Duff 1984), so the unseen colour of a transparent pixel never bleeds into an edge.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor, ImageOps

from miaobi.core.errors import DataError, UsageError, unknown

Pixels = NDArray[np.uint8]
Fit = Literal["contain", "cover", "stretch"]

MIMES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is decoded at all: encoded bytes, pixels, and Pillow's names of the formats."""

    num_bytes: int = 64 << 20
    num_pixels: int = 50_000_000
    formats: tuple[str, ...] = tuple(MIMES.values())


DEFAULT_LIMITS = Limits()


def decode(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """The first frame of an encoded picture, upright and in sRGB, as (height, width, 4).

    Raises:
        DataError: no picture, damaged, cut off, empty, of a format that is not allowed, or beyond the limits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of sizes and odd tags; what matters is checked here
        image = _open(data, limits)
        try:
            image.load()
            return _pixels(image)
        except Exception as error:  # a decoder raises anything over damaged bytes
            raise DataError("the picture is damaged or cut off ({problem})", problem=_words(error)) from None


def picture_size(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Width and height as the header says them, without decoding a pixel; raises as `decode` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _open(data, limits).size


def mime_of(data: bytes) -> str:
    """The MIME type by the first bytes; empty when it is none of ours."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    for start, mime in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"BM", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
    ):
        if data.startswith(start):
            return mime
    return ""


def _open(data: bytes, limits: Limits) -> Image.Image:
    """The picture with its header read and checked."""
    if len(data) > limits.num_bytes:
        raise DataError("the picture has {bytes} bytes; at most {most} are read", bytes=len(data), most=limits.num_bytes)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=limits.formats)
    except Image.DecompressionBombError:
        raise DataError("the picture has too many pixels; at most {most} are decoded", most=limits.num_pixels) from None
    except Exception:
        raise DataError(
            "this is no picture that can be read, or its header is damaged; known formats: {formats}", formats=", ".join(limits.formats)
        ) from None
    width, height = image.size
    if width < 1 or height < 1:
        raise DataError("the picture is empty: {width} by {height} pixels", width=width, height=height)
    if width * height > limits.num_pixels:
        raise DataError(
            "the picture has {width} by {height} pixels; at most {most} pixels are decoded",
            width=width,
            height=height,
            most=limits.num_pixels,
        )
    return image


def _pixels(image: Image.Image) -> Pixels:
    """A loaded picture, upright and in sRGB, as an array of its own."""
    image = _upright(image)
    if image.mode.startswith(("I", "F")):
        return _from_deep(image)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return np.array(_to_srgb(image).convert("RGBA"))


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; damaged EXIF turns nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _to_srgb(image: Image.Image) -> Image.Image:
    """Colours by the embedded profile (CMYK looks wrong without it); a damaged or unfit profile is passed over."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    target = "RGBA" if image.mode == "RGBA" or "transparency" in image.info else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        image = image.convert("RGBA") if target == "RGBA" else image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=target) or image
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image


def _from_deep(image: Image.Image) -> Pixels:
    """Grey of 16 or 32 bits, or floats in [0, 1], as eight bits: Pillow's own conversion would clip, not scale."""
    values = np.asarray(image).astype(np.float64)  # (H, W)
    hidden = values == image.info["transparency"] if isinstance(image.info.get("transparency"), int) else None
    if image.mode == "F":
        values = np.nan_to_num(values, posinf=1.0, neginf=0.0)
        scale = 255.0 if values.max() <= 1 else 1.0
    else:
        scale = 1.0 if image.mode == "I" and values.max() <= 255 else 255 / 65535 if values.max() <= 65535 else 255 / (2**32 - 1)
    grey = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    alpha = np.full_like(grey, 255) if hidden is None else np.where(hidden, 0, 255).astype(np.uint8)
    return np.stack([grey, grey, grey, alpha], axis=-1)  # (H, W, 4)


def _words(error: Exception) -> str:
    """What a decoder said, in a line; the kind of error when it said nothing."""
    return (str(error).splitlines() or [""])[0][:120] or type(error).__name__


def encode(pixels: NDArray[Any], mime: str = "image/png", *, quality: int = 90, background: str = "white") -> bytes:
    """An array (height, width), (…, 3) or (…, 4) as the bytes of a file; equal arrays give equal bytes.

    PNG and WebP keep every pixel and its opacity. JPEG keeps neither: the picture is laid over `background`.

    Raises:
        UsageError: a format that is not written.
    """
    if mime not in ("image/png", "image/webp", "image/jpeg"):
        raise unknown("picture format", mime, ("image/png", "image/webp", "image/jpeg"))
    image = Image.fromarray(over(pixels, background) if mime == "image/jpeg" else _smallest(rgba(pixels)))
    buffer = io.BytesIO()
    if mime == "image/png":
        image.save(buffer, "PNG", compress_level=6)
    elif mime == "image/webp":
        image.save(buffer, "WEBP", lossless=True, exact=True, method=4)
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _smallest(pixels: Pixels) -> Pixels:
    """The same picture with fewer channels where they say nothing: opaque, or opaque and grey."""
    if (pixels[..., 3] != 255).any():
        return pixels
    colours = pixels[..., :3]
    return colours[..., 0].copy() if (colours == colours[..., :1]).all() else colours.copy()


def rgba(pixels: NDArray[Any]) -> Pixels:
    """Grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) as RGBA; what is no uint8 array of these shapes is our own mistake."""
    assert pixels.dtype == np.uint8
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    assert pixels.ndim == 3
    assert pixels.shape[-1] in (3, 4)
    return pixels if pixels.shape[-1] == 4 else np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def colour(text: str) -> tuple[int, int, int]:
    """The colour of a name (`white`) or of `#rrggbb`.

    Raises:
        UsageError: neither of them.
    """
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        raise UsageError("unknown colour '{text}'. Write a name such as white, or #rrggbb", text=text) from None
    return red, green, blue


def over(pixels: NDArray[Any], background: str = "white") -> Pixels:
    """The picture laid over a colour (height, width, 3)."""
    pixels = rgba(pixels)
    alpha = pixels[..., 3:].astype(np.uint32)
    mixed = pixels[..., :3] * alpha + np.array(colour(background), np.uint32) * (255 - alpha)
    laid: Pixels = ((mixed + 127) // 255).astype(np.uint8)
    return laid


def resize(pixels: NDArray[Any], size: tuple[int, int]) -> Pixels:
    """The picture at `size` (width, height): area means when both sides shrink by whole factors, Lanczos otherwise."""
    pixels = rgba(pixels)
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels.copy()
    whole = width % size[0] == 0 and height % size[1] == 0
    kind = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
    alpha = pixels[..., 3:].astype(np.float32) / 255
    planes = np.dstack([pixels[..., :3] * alpha, alpha])  # premultiplied (H, W, 4)
    scaled = np.dstack([np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., n])).resize(size, kind)) for n in range(4)])
    opacity = np.clip(scaled[..., 3:], 0, 1)
    colours = np.divide(scaled[..., :3], opacity, out=np.zeros_like(scaled[..., :3]), where=opacity > 1 / 512)
    straight: Pixels = np.rint(np.clip(np.dstack([colours, opacity * 255]), 0, 255)).astype(np.uint8)
    return straight


def fit(pixels: NDArray[Any], size: int | tuple[int, int], mode: Fit = "contain") -> Pixels:
    """The picture in a box of `size` (a side, or width and height): all of it with transparent margins, its middle, or stretched."""
    width, height = (size, size) if isinstance(size, int) else size
    pixels = rgba(pixels)
    if mode == "stretch":
        return resize(pixels, (width, height))
    ratios = width / pixels.shape[1], height / pixels.shape[0]
    scale = min(ratios) if mode == "contain" else max(ratios)
    scaled = resize(pixels, (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))))
    if scaled.shape[:2] == (height, width):
        return scaled
    if mode == "cover":
        top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
        return scaled[top : top + height, left : left + width].copy()
    canvas = np.zeros((height, width, 4), np.uint8)
    top, left = (height - scaled.shape[0]) // 2, (width - scaled.shape[1]) // 2
    canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return canvas


def cut_out(pixels: NDArray[Any], *, tolerance: int = 12) -> Pixels:
    """An opaque picture without the white paper that it lies on: what is white and hangs together with its edge becomes clear.

    A picture that has clear places already, that is nothing but white, or whose edge is not nine tenths white, stays as it is.
    """
    pixels = rgba(pixels)
    edge = np.ones(pixels.shape[:2], np.bool_)
    edge[1:-1, 1:-1] = False
    white = pixels[..., :3].min(axis=-1) >= 255 - tolerance  # (H, W)
    if (pixels[..., 3] < 255).any() or white.all() or white[edge].mean() < 0.9:
        return pixels
    clear = edge & white
    for _ in range(sum(edge.shape) * 2):  # each pass goes a pixel further, as far as any bay of a drawing reaches
        near = np.pad(clear, 1)
        grown = white & (near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:] | clear)
        if (grown == clear).all():
            break
        clear = grown
    return np.where(clear[..., None], np.uint8(0), pixels)


def contact_sheet(
    pictures: Sequence[NDArray[Any]], *, columns: int = 8, size: int | tuple[int, int] = 64, background: str = "white", gap: int = 4
) -> Pixels:
    """Pictures side by side in rows of `columns`, each fitted in its cell; `background="transparent"` keeps what is clear clear."""
    assert pictures, "a contact sheet of nothing"
    width, height = (size, size) if isinstance(size, int) else size
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((gap + rows * (height + gap), gap + columns * (width + gap), 4), np.uint8)
    for number, picture in enumerate(pictures):
        top, left = gap + (number // columns) * (height + gap), gap + (number % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = fit(picture, (width, height))
    return sheet if background == "transparent" else rgba(over(sheet, background))


def render_svg(text: str | bytes, size: int | tuple[int, int], *, colour: str = "") -> Pixels:
    """An SVG drawing fitted in a box of `size`; `colour` is what `currentColor` means.

    Nothing outside the text is read, neither files nor fonts nor the network; see `miaobi.data.drawings` for what is refused.

    Raises:
        DataError: no SVG, or one that refers to other files, declares entities, or is too large to draw.
        MissingExtra: resvg-py is not installed.
    """
    from miaobi.data.drawings import render

    return render(text, (size, size) if isinstance(size, int) else size, colour=colour)
