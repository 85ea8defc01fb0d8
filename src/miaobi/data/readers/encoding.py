"""Bytes become text: decompression by suffix, the encoding detected, lines of any length without trust in the file.

Detected are byte-order marks, UTF-8, UTF-16 without a mark, GB18030, and what charset-normalizer knows. GB18030 decodes almost any bytes,
so it is believed only when most of the characters it gives are among the 3,755 commonest (GB 2312, level 1).
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from miaobi.core.errors import DataError, MissingExtra, UsageError
from miaobi.data.records import Dropped

SAMPLE_BYTES = 1 << 18
LINE_BYTES = 64 << 20
WHOLE_BYTES = 1 << 30
COMPRESSED = (".gz", ".zst")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"PAR1", "parquet"),
    (b"SQLite format 3", "SQLite"),
    (b"\xd0\xcf\x11\xe0", "Office"),
    (b"\x7fELF", "ELF"),
)
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r\x0b\x0c\x1a\x1b")


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed when it ends in .gz or .zst.

    Raises:
        DataError: missing, a folder, no permission, or a compressed stream that is damaged or ends too early.
    """
    with explain_read_errors(path), contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        if path.suffix == ".gz":
            yield stack.enter_context(io.BufferedReader(cast(Any, gzip.GzipFile(fileobj=raw)), 1 << 20))
        elif path.suffix == ".zst":
            yield stack.enter_context(_zstd(raw, path))
        else:
            yield raw


@contextlib.contextmanager
def explain_read_errors(path: Path) -> Iterator[None]:
    """Turn what may go wrong while reading a file into a message that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError("there is no file {path}", path=path) from None
    except IsADirectoryError:
        raise DataError("{path} is a folder, not a file", path=path) from None
    except PermissionError:
        raise DataError("no permission to read {path}", path=path) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError("{path} is truncated or damaged: {error}. Copy or download it again", path=path, error=error) from None


def _zstd(raw: IO[bytes], path: Path) -> io.BufferedReader:
    """A zstd stream that notices when the file ends inside a frame, which the library's reader takes for the end."""
    try:
        import zstandard
    except ImportError:
        raise MissingExtra(str(path), "data", "zstandard") from None

    class Frames(io.RawIOBase):
        def __init__(self) -> None:
            self.machine, self.ready, self.inside = zstandard.ZstdDecompressor().decompressobj(), b"", False

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            while not self.ready:
                block = raw.read(1 << 18)
                if not block:
                    if self.inside:
                        raise EOFError("the compressed stream ends in the middle")
                    return 0
                self._feed(block)
            count = min(len(buffer), len(self.ready))
            buffer[:count], self.ready = self.ready[:count], self.ready[count:]
            return count

        def _feed(self, block: bytes) -> None:
            try:
                while block:
                    self.ready += self.machine.decompress(block)
                    self.inside = not self.machine.eof
                    block = self.machine.unused_data if self.machine.eof else b""
                    if self.machine.eof:
                        self.machine = zstandard.ZstdDecompressor().decompressobj()
            except zstandard.ZstdError as error:
                raise EOFError(str(error)) from None

    return io.BufferedReader(Frames(), 1 << 20)


def detect(sample: bytes, path: Path) -> str:
    """The encoding of a file that begins (or first leaves ASCII) with `sample`.

    Raises:
        DataError: it is not text, or nobody can tell the encoding.
    """
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return name
    if wide := _utf16(sample):
        return wide
    refuse_binary(sample, path)
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    text = sample.decode("utf-8", "replace")
    if text.count("\ufffd") * 50 < sum(not character.isascii() for character in text):
        return "utf-8"  # a few broken places: their lines are dropped, the rest is good
    with contextlib.suppress(UnicodeDecodeError):
        if _common_share(codecs.getincrementaldecoder("gb18030")().decode(sample)) > 0.5:
            return "gb18030"
    from charset_normalizer import from_bytes

    best = from_bytes(sample[: SAMPLE_BYTES // 4]).best()
    if best is None or best.encoding == "ascii":
        raise DataError("the encoding of {path} cannot be told. Name it: `encoding: gb18030`, say", path=path)
    return best.encoding


def refuse_binary(sample: bytes, path: Path) -> None:
    """Raise when `sample` is no text in any ASCII-compatible encoding."""
    kind = next((name for magic, name in _MAGIC if sample.startswith(magic)), "")
    if kind or b"\0" in sample or len(sample) - len(sample.translate(None, _CONTROL)) > len(sample) // 50:
        raise DataError("{path} is not a text file{kind}", path=path, kind=f" ({kind})" if kind else "")


def _utf16(sample: bytes) -> str:
    """UTF-16 without a mark: seen by its Chinese, else by its line breaks and spaces, whose zero byte is always on the same side.

    Chinese comes first, since 一 (U+4E00) has its zero on the other side.
    """
    pairs = sample[: len(sample) // 2 * 2]
    if b"\0" not in pairs:
        return ""
    names = ("utf-16-le", "utf-16-be")
    for name in names:
        with contextlib.suppress(UnicodeDecodeError):
            if _common_share(codecs.getincrementaldecoder(name)().decode(pairs)) > 0.5:
                return name
    low, high = pairs[0::2], pairs[1::2]
    for name, zeros, others in zip(names, (high, low), (low, high), strict=True):
        plain = sum(others.count(bytes([byte])) for byte in b"\n ,.0123456789aeiost")
        if zeros.count(0) and others.count(0) == 0 and plain:
            with contextlib.suppress(UnicodeDecodeError):
                codecs.getincrementaldecoder(name)().decode(pairs)
                return name
    return ""


def _common_share(text: str) -> float:
    """The share of the letters beyond ASCII that are among GB 2312's level 1."""
    letters = [character for character in text if not character.isascii()]
    common = 0
    for character in letters:
        code = character.encode("gb2312", "ignore")
        common += len(code) == 2 and (0xB0 <= code[0] <= 0xD7 or code[0] in (0xA1, 0xA3))
    return common / max(1, len(letters))


def encoding_of(path: Path, named: str = "") -> str:
    """The encoding of a file: as named, else detected on its first stretch that is not ASCII.

    Raises:
        UsageError: Python knows no encoding of that name.
    """
    if named:
        try:
            return codecs.lookup(named).name
        except LookupError:
            raise UsageError("there is no encoding '{name}'. Try utf-8, gb18030, utf-16 or big5", name=named) from None
    with open_bytes(path) as stream:
        first = sample = stream.read(SAMPLE_BYTES) + stream.readline(SAMPLE_BYTES)
        while sample.isascii() and b"\0" not in sample:
            sample = stream.read(SAMPLE_BYTES) + stream.readline(SAMPLE_BYTES)
            if not sample:
                return detect(first, path)
    return detect(sample, path)


def lines(
    stream: IO[bytes], encoding: str, *, start: int = 0, stop: int | None = None, first: int = 1, where: str = ""
) -> Iterator[tuple[int, str | Dropped]]:
    """Numbered lines with their ends. Bytes that do not decode become lone surrogates (see `is_broken`); lines over 64 MiB are skipped."""
    if encoding.replace("_", "-").startswith(("utf-16", "utf-32")):
        text = io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="")
        yield from ((number, line) for number, line in enumerate(text, first))
        return
    if start:
        stream.seek(start)
    number, position = first, start
    while stop is None or position < stop:
        line = stream.readline(LINE_BYTES)
        if not line:
            return
        position += len(line)
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(LINE_BYTES)
                position += len(line)
            yield number, Dropped("line_too_long", f"over {LINE_BYTES >> 20} MiB", id=f"{where}#{number}")
        else:
            yield number, line.decode("utf-8-sig" if encoding == "utf-8" and number == 1 else encoding, "surrogateescape")
        number += 1


def whole(path: Path, encoding: str = "") -> str:
    """The whole file as text, with \\n line ends.

    Raises:
        DataError: it is larger than 1 GiB, not text, or has bytes that the encoding does not know.
    """
    with open_bytes(path) as stream:
        data = stream.read(WHOLE_BYTES + 1)
    if len(data) > WHOLE_BYTES:
        raise DataError("{path} is over {most} MiB, too large to read at once. Convert it to jsonl", path=path, most=WHOLE_BYTES >> 20)
    encoding = codecs.lookup(encoding).name if encoding else encoding_of(path)
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            "{path} is not {encoding} text: byte {position} does not decode", path=path, encoding=encoding, position=error.start
        ) from None


_BROKEN = re.compile("[\ud800-\udfff]")


def is_broken(text: str) -> bool:
    """Whether bytes of the line did not decode."""
    return not text.isascii() and _BROKEN.search(text) is not None
