"""The XMP packet goes into every format without touching a pixel, comes back, is replaced; damaged files are refused at every byte."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from miaobi.core.errors import DataError
from miaobi.trust import aigc, containers, pictures, xmp
from miaobi.trust.containers import gif, jpeg, png, tiff, webp

LABEL = {"prompt": "一只猫 <\"&'> \ufffe\x00\u2028 😀", "options": {"a": [1, 2.5, None]}}
IMPLICIT = aigc.implicit("f00", by="me")


def picture(size: tuple[int, int] = (13, 9), mode: str = "RGBA") -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 4), np.uint8)).convert(mode)


def encoded(format: str, mode: str = "RGBA", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode=mode).save(buffer, format, **options)
    return buffer.getvalue()


def frames(format: str) -> bytes:
    buffer = io.BytesIO()
    first, *rest = (picture().rotate(turn).convert("RGB") for turn in (0, 90, 180))
    first.save(buffer, format, save_all=True, append_images=rest, duration=50, loop=0)
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded("PNG"),
    "png palette": lambda: encoded("PNG", "P"),
    "jpeg": lambda: encoded("JPEG", "RGB"),
    "jpeg progressive": lambda: encoded("JPEG", "L", progressive=True),
    "jpeg exif": lambda: encoded("JPEG", "RGB", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "webp lossless": lambda: encoded("WEBP", lossless=True),
    "webp lossless opaque": lambda: encoded("WEBP", "RGB", lossless=True),
    "webp lossy": lambda: encoded("WEBP", "RGB"),
    "webp lossy alpha": lambda: encoded("WEBP"),
    "webp animated": lambda: frames("WEBP"),
    "gif": lambda: encoded("GIF", "P"),
    "gif 87a": lambda: encoded("GIF", "P").replace(b"GIF89a", b"GIF87a", 1),
    "gif animated": lambda: frames("GIF"),
    "tiff": lambda: encoded("TIFF"),
    "tiff deflate": lambda: encoded("TIFF", "RGB", compression="tiff_adobe_deflate"),
    "tiff big-endian": lambda: big_endian_tiff(),
    "tiff pages": lambda: frames("TIFF"),
}
PILLOW_KEY = {"image/png": "xmp", "image/jpeg": "xmp", "image/webp": "xmp", "image/tiff": "xmp"}


def big_endian_tiff() -> bytes:
    """2 x 2 grey pixels, written by hand, since Pillow writes little-endian files."""
    tags = [(256, 3, 1, 2 << 16), (257, 3, 1, 2 << 16), (258, 3, 1, 8 << 16), (262, 3, 1, 1 << 16), (273, 4, 1, 8), (279, 4, 1, 4)]
    body = b"MM\0*" + (12).to_bytes(4, "big") + bytes([0, 80, 160, 255]) + len(tags).to_bytes(2, "big")
    for tag, kind, count, value in tags:
        body += tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + count.to_bytes(4, "big") + value.to_bytes(4, "big")
    return body + bytes(4)


@pytest.mark.parametrize("name", FILES)
def test_the_packet_comes_back_and_the_pixels_stay(name: str) -> None:
    data = FILES[name]()
    marked = pictures.embed(data, IMPLICIT, LABEL)
    found = pictures.read(marked)
    assert (found.implicit, found.label, found.source_type, found.count) == (IMPLICIT, LABEL, xmp.GENERATED, 1)
    assert found.sha256 == pictures.sha256(data)
    assert containers.packets(data) == []
    image = Image.open(io.BytesIO(marked))
    image.load()
    if found.mime in PILLOW_KEY:  # another reader finds the packet where it belongs
        assert image.info.get("xmp") == containers.packets(marked)[0] or image.tag_v2[700] == containers.packets(marked)[0]
    assert getattr(image, "n_frames", 1) == getattr(Image.open(io.BytesIO(data)), "n_frames", 1)


@pytest.mark.parametrize("name", FILES)
def test_a_second_label_replaces_the_first_and_the_same_one_changes_nothing(name: str) -> None:
    first = pictures.embed(FILES[name](), IMPLICIT, {"prompt": "the first one " + "x" * 5000})
    second = pictures.embed(first, aigc.implicit("f01", by="you"), LABEL)
    assert len(containers.packets(second)) == 1
    assert b"the first one" not in second
    assert pictures.read(second).label == LABEL
    assert pictures.sha256(second) == pictures.sha256(first)
    if not name.startswith("tiff"):  # a TIFF grows, since nothing in it may move
        assert pictures.embed(second, aigc.implicit("f01", by="you"), LABEL) == second
        assert second == pictures.embed(FILES[name](), aigc.implicit("f01", by="you"), LABEL)


def without_packet(name: str, marked: bytes) -> bytes:
    """The marked file with its packet cut out again, by a way of its own."""
    if name.startswith("png"):
        start = marked.index(b"iTXtXML:com.adobe.xmp") - 4
        return marked[:start] + marked[start + 12 + int.from_bytes(marked[start : start + 4], "big") :]
    start = marked.index(b"\xff\xe1", marked.index(b"http://ns.adobe.com/xap/1.0/") - 4)
    return marked[:start] + marked[start + 2 + int.from_bytes(marked[start + 2 : start + 4], "big") :]


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("png", "jpeg"))])
def test_every_other_byte_is_as_it_was(name: str) -> None:
    data = FILES[name]()
    assert without_packet(name, pictures.embed(data, IMPLICIT, LABEL)) == data


def test_what_follows_the_end_of_the_file_stays() -> None:
    for name in ("png", "jpeg", "webp lossless", "gif"):
        assert pictures.embed(FILES[name]() + b"trailing bytes", IMPLICIT, LABEL).endswith(b"trailing bytes")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_at_any_byte_is_read_or_refused_but_never_fails(name: str) -> None:
    marked = pictures.embed(FILES[name](), IMPLICIT, {"prompt": "x"})
    for end in range(len(marked)):
        for call in (pictures.read, lambda data: pictures.embed(data, IMPLICIT, LABEL)):
            with contextlib.suppress(DataError):  # anything else would be a traceback for the user
                call(marked[:end])


@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes_never_fail(name: str) -> None:
    marked = bytearray(pictures.embed(FILES[name](), IMPLICIT, {"prompt": "x"}))
    rng = random.Random(1)
    for _ in range(150):
        data = bytearray(marked)
        for _ in range(rng.choice((1, 1, 4))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
        for call in (pictures.read, lambda data: pictures.embed(data, IMPLICIT, LABEL)):
            with contextlib.suppress(DataError):
                call(bytes(data))


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def test_chunks_in_any_order() -> None:
    data = FILES["png"]()
    start = data.index(b"IHDR") + 8 + 13
    head, rest = data[:start], data[start:]
    packet = xmp.encode(IMPLICIT, LABEL)
    key = b"XML:com.adobe.xmp\0"
    parts = [
        rest[:-12],  # the pixels
        chunk(b"iTXt", key + b"\0\0\0\0" + packet),
        chunk(b"iTXt", key + b"\1\0zh\0" + "标识".encode() + b"\0" + zlib.compress(packet)),
        chunk(b"tEXt", b"Comment\0hello"),
        chunk(b"iTXt", key + b"\1\0\0\0not packed"),
        chunk(b"iTXt", key),
    ]
    for order in itertools.permutations(parts):
        mixed = head + b"".join(order) + rest[-12:]
        found = pictures.read(mixed)
        assert (found.count, found.label) == (2, LABEL)
        cleaned = pictures.embed(mixed, IMPLICIT, LABEL)
        assert len(containers.packets(cleaned)) == 1
        assert b"hello" in cleaned
        assert cleaned.index(b"iTXt") < cleaned.index(b"IDAT")


def test_a_webp_with_chunks_around_its_image() -> None:
    data = encoded("WEBP", "RGB", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", icc_profile=b"odd")
    marked = webp.replace(data, b"<x/>")
    kinds = [kind for kind, _, _ in webp._chunks(marked)]
    assert kinds == [b"VP8X", b"ICCP", b"VP8 ", b"EXIF", b"XMP "]
    assert marked[20] & 0x04
    assert len(marked) == 8 + int.from_bytes(marked[4:8], "little")


def test_gif_readers_that_know_nothing_of_xmp_find_the_end() -> None:
    packet = xmp.encode(IMPLICIT, {"prompt": "".join(chr(code) for code in range(32, 0x250)) + "𠮷"})
    marked = gif.replace(FILES["gif animated"](), packet)
    assert gif.packets(marked) == [packet]
    assert Image.open(io.BytesIO(marked)).n_frames == 3
    cut = b"".join(bytes([len(part)]) + part for part in (packet[at : at + 255] for at in range(0, len(packet), 255)))
    proper = FILES["gif"]()
    assert gif.packets(proper[:-1] + b"\x21\xff\x0bXMP DataXMP" + cut + b"\0" + proper[-1:]) == [packet]


def test_a_long_label_goes_everywhere_but_into_a_jpeg() -> None:
    label = {"prompt": "字" * 30_000}
    for name in ("png", "webp lossless", "gif", "tiff"):
        assert pictures.read(pictures.embed(FILES[name](), IMPLICIT, label)).label == label
    with pytest.raises(DataError, match=r"a JPEG file holds 65,504"):
        pictures.embed(FILES["jpeg"](), IMPLICIT, label)
    assert jpeg._LARGEST + 2 + len(jpeg._MAIN) == 0xFFFF


def test_packets_of_others_are_read() -> None:
    values = '{"AIGC":{"Label":"1","ContentProducer":"x","ProduceID":"y"}}'
    for wrapper in (values, values[8:-1]):
        escaped = wrapper.replace('"', "&quot;")
        for description in (
            f'<rdf:Description xmlns:TC260="{xmp.TC260}" TC260:AIGC="{escaped}"/>',
            f'<rdf:Description xmlns:a="{xmp.TC260}"><a:AIGC>{wrapper}</a:AIGC></rdf:Description>',
            f'<rdf:Description xmlns:a="{xmp.TC260}"><a:AIGC><rdf:Alt><rdf:li>{wrapper}</rdf:li></rdf:Alt></a:AIGC></rdf:Description>',
        ):
            packet = f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{description}</rdf:RDF>'.encode()
            found = xmp.decode([b"not xml", packet])
            assert found.implicit["ContentProducer"] == "x"
            assert found.count == 1


def test_hostile_packets_say_nothing_and_take_no_time() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(f'<!ENTITY a{i} "{"&a;" * 10}">' for i in range(9)) + "]><a>&a8;</a>"
    deep = "<a>" * 200_000 + "</a>" * 200_000
    nested = f'<a xmlns:t="{xmp.TC260}">' + "<t:AIGC>" * 50_000 + "</t:AIGC>" * 50_000 + "</a>"
    start = time.perf_counter()
    for text in (bomb, deep, nested, "", "<", "\0" * 100, "x" * (xmp.MAX_BYTES + 1)):
        found = xmp.decode([text.encode()])
        assert not found.implicit
        assert not found.label
    squeezed = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"\0" * 200_000_000))
    data = FILES["png"]()
    assert len(png.packets(data[:33] + squeezed + data[33:])[0]) == xmp.MAX_BYTES + 1
    assert time.perf_counter() - start < 10


def test_a_tag_that_points_at_pixels_does_not_wipe_them() -> None:
    data = big_endian_tiff()
    entry = (700).to_bytes(2, "big") + (1).to_bytes(2, "big") + (12).to_bytes(4, "big") + (0).to_bytes(4, "big")
    directory = int.from_bytes(data[4:8], "big")
    count = int.from_bytes(data[directory : directory + 2], "big")
    end = directory + 2 + 12 * count
    wrong = data[:directory] + (count + 1).to_bytes(2, "big") + data[directory + 2 : end] + entry + data[end:]
    assert tiff.replace(wrong, b"<rdf:RDF/>")[8:12] == wrong[8:12]


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    header = chunk(b"IHDR", (50_000).to_bytes(4, "big") * 2 + bytes([8, 6, 0, 0, 0]))
    huge = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"more than 50,000,000 pixels|damaged"):
        pictures.read(huge)
    assert time.perf_counter() - start < 1
    with pytest.raises(DataError, match="no picture of a kind"):
        pictures.read(b"%!PS-Adobe-3.0 EPSF")


def test_what_is_not_seen_does_not_count() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    tinted = clear.copy()
    tinted[..., 0] = 200
    assert pictures.sha256(pictures.encode(clear, "image/png")) == pictures.sha256(pictures.encode(tinted, "image/png"))
    tinted[0, 0, 3] = 1
    assert pictures.sha256(pictures.encode(clear, "image/png")) != pictures.sha256(pictures.encode(tinted, "image/png"))
    flat, tall = np.zeros((2, 8, 4), np.uint8), np.zeros((8, 2, 4), np.uint8)
    assert pictures.sha256(pictures.encode(flat, "image/png")) != pictures.sha256(pictures.encode(tall, "image/png"))


def test_another_reader_of_png_sees_the_text() -> None:
    image = Image.open(io.BytesIO(pictures.embed(FILES["png"](), IMPLICIT, LABEL)))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    assert xmp.TC260 in image.text["XML:com.adobe.xmp"]
