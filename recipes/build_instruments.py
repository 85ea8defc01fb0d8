"""Cut the shipped instruments out of a soundfont: `python recipes/build_instruments.py MuseScore_General_Lite.sf3`.

The soundfont is MuseScore General (MIT) as Debian packages it (`apt-get download musescore-general-soundfont-small`). Of every instrument
that `miaobi.data.instruments` takes from it, the layer of middle loudness is kept: one sample every few semitones, one channel, its static
filter applied, cut behind its loop, and written as Vorbis. The result is `miaobi/builtin/instruments`: `instruments.json` says where in
`samples.bin` each sample lies and how it sounds.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from miaobi.core.artifact import new_folder, write_bytes, write_text
from miaobi.data.instruments import INSTRUMENTS

HEADERS = {
    "phdr": [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "V12")],
    "pbag": [("generator", "<u2"), ("modulator", "<u2")],
    "pgen": [("kind", "<u2"), ("amount", "<i2")],
    "inst": [("name", "S20"), ("bag", "<u2")],
    "ibag": [("generator", "<u2"), ("modulator", "<u2")],
    "igen": [("kind", "<u2"), ("amount", "<i2")],
    "shdr": [
        ("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop_start", "<u4"), ("loop_end", "<u4"), ("rate", "<u4"),
        ("root", "u1"), ("correction", "i1"), ("link", "<u2"), ("kind", "<u2"),
    ],
}  # fmt: skip
ATTENUATION, FILTER, PAN, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 48, 8, 17, 34, 35, 36, 37, 38
KEYS, VELOCITIES, COARSE, FINE, SAMPLE, MODES, ROOT, INSTRUMENT = 43, 44, 51, 52, 53, 54, 58, 41
LAYER = 80  # the loudness whose samples are kept
STEP = 5  # semitones from one kept sample to the next, at least
QUIET = 500  # centibels: what is this soft lies under another sample, such as the noise of a bow
LONGEST = 5.0  # seconds of a sample without a loop


@dataclass(slots=True)
class Font:
    """The records of a soundfont and its bytes."""

    tables: dict[str, NDArray[Any]] = field(default_factory=dict)
    samples: bytes = b""

    @classmethod
    def read(cls, path: Path) -> Font:
        font, data = cls(), path.read_bytes()
        for name, body in _chunks(data[12:]):
            if name != "LIST":
                continue
            for inner, content in _chunks(body[4:]):
                if inner == "smpl":
                    font.samples = content
                elif inner in HEADERS:
                    font.tables[inner] = np.frombuffer(content, dtype=np.dtype(HEADERS[inner]))
        return font

    def zones(self, bags: str, generators: str, first: int, last: int) -> Iterator[dict[int, int]]:
        """The generators of each zone; those of a global zone are in all others."""
        common: dict[int, int] = {}
        for number in range(first, last):
            start, stop = self.tables[bags]["generator"][number], self.tables[bags]["generator"][number + 1]
            found = {int(row["kind"]): int(row["amount"]) for row in self.tables[generators][start:stop]}
            if number == first and SAMPLE not in found and INSTRUMENT not in found:
                common = found
            else:
                yield common | found

    def preset(self, program: int) -> list[dict[int, int]]:
        """The sample zones of a preset of bank 0, at the chosen layer, the preset's own generators added."""
        headers = self.tables["phdr"]
        [place] = [number for number, row in enumerate(headers[:-1]) if row["bank"] == 0 and row["program"] == program][:1]
        found = []
        for outer in self.zones("pbag", "pgen", headers[place]["bag"], headers[place + 1]["bag"]):
            if not _covers(outer, VELOCITIES, LAYER):
                continue
            kind = outer[INSTRUMENT]
            rows = self.tables["inst"]
            for inner in self.zones("ibag", "igen", rows[kind]["bag"], rows[kind + 1]["bag"]):
                if SAMPLE in inner and _covers(inner, VELOCITIES, LAYER):
                    found.append(_combined(outer, inner))
        return found


def _chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        yield data[place : place + 4].decode("latin-1"), data[place + 8 : place + 8 + size]
        place += 8 + size
        if size % 2 and data[place : place + 1] == b"\0":  # the padding that RIFF asks for, which this soundfont leaves out
            place += 1


def _range(zone: Mapping[int, int], kind: int) -> tuple[int, int]:
    amount = zone.get(kind, 127 << 8) & 0xFFFF
    return amount & 0xFF, amount >> 8


def _covers(zone: Mapping[int, int], kind: int, value: int) -> bool:
    low, high = _range(zone, kind)
    return low <= value <= high


def _combined(outer: Mapping[int, int], inner: Mapping[int, int]) -> dict[int, int]:
    """An instrument's zone with what its preset adds; key ranges meet."""
    zone = dict(inner)
    for kind in (ATTENUATION, COARSE, FINE, PAN, FILTER, ATTACK, DECAY, RELEASE):
        if kind in outer:
            usual = {FILTER: 13500, ATTACK: -12000, DECAY: -12000, RELEASE: -12000}.get(kind, 0)
            zone[kind] = inner.get(kind, usual) + outer[kind]
    low, high = _range(outer, KEYS)
    own_low, own_high = _range(inner, KEYS)
    zone[KEYS] = max(low, own_low) | min(high, own_high) << 8
    return zone


def chosen(font: Font, zones: list[dict[int, int]], low: int, high: int) -> list[dict[int, int]]:
    """Zones that cover `low` to `high` with samples at least `STEP` apart; of a stereo pair the left one."""
    kept: list[dict[int, int]] = []
    taken: set[int] = set()
    candidates = []
    for zone in zones:
        first, last = _range(zone, KEYS)
        if last < low or first > high or zone.get(ATTENUATION, 0) > QUIET:
            continue
        row = font.tables["shdr"][zone[SAMPLE]]
        right = int(row["kind"]) & 2 or zone.get(PAN, 0) > 100
        candidates.append((first, bool(right), last, zone))
    for first, _, last, zone in sorted(candidates, key=lambda item: (item[0], item[1], item[2])):
        if first in taken or (kept and first < _range(kept[-1], KEYS)[1]):
            continue
        if kept and _root(font, zone) - _root(font, kept[-1]) < STEP and last < high:
            continue
        kept.append(zone)
        taken.add(first)
    return kept


def _root(font: Font, zone: Mapping[int, int]) -> int:
    row = font.tables["shdr"][zone[SAMPLE]]
    root = zone.get(ROOT, -1)
    return root if 0 <= root <= 127 else int(row["root"])


def cut(font: Font, zone: Mapping[int, int]) -> tuple[bytes, dict[str, Any]]:
    """A zone's sample as Vorbis, and what the synthesiser must know of it."""
    row = font.tables["shdr"][zone[SAMPLE]]
    wave, rate = soundfile.read(io.BytesIO(font.samples[int(row["start"]) : int(row["end"])]), dtype="float32", always_2d=True)
    mono: NDArray[np.float32] = wave[:, 0]
    loops = zone.get(MODES, 0) & 1 == 1
    begin, end = int(row["loop_start"]), int(row["loop_end"])
    if loops:
        mono = mono[: end + 32]
    elif len(mono) > LONGEST * rate:
        mono = mono[: int(LONGEST * rate)].copy()
        fade = int(0.5 * rate)
        mono[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade)).astype(np.float32)
    cutoff = 8.176 * 2 ** (zone.get(FILTER, 13500) / 1200)
    mono = _low_passed(mono, cutoff, rate)
    about: dict[str, Any] = {
        "root": _root(font, zone),
        "cents": 100 * zone.get(COARSE, 0) + zone.get(FINE, 0) + int(row["correction"]),
        "rate": rate,
        "gain": round(10 ** (-0.4 * zone.get(ATTENUATION, 0) / 200), 4),  # players take 0.4 of what the file says, as the E-mu chips did
        "attack": _seconds(zone, ATTACK, 0.002),
        "hold": _seconds(zone, HOLD, 0.0),
        "decay": _seconds(zone, DECAY, 0.0),
        "sustain": round(10 ** (-min(1000, max(0, zone.get(SUSTAIN, 0))) / 200), 4),
        "release": _seconds(zone, RELEASE, 0.1),
    }
    if loops:
        about["loop"] = [begin, end]
    buffer = io.BytesIO()
    soundfile.write(buffer, mono, rate, format="OGG", subtype="VORBIS", compression_level=0.65)
    return buffer.getvalue(), about


def _seconds(zone: Mapping[int, int], kind: int, least: float) -> float:
    return round(max(least, 2 ** (zone[kind] / 1200)), 4) if kind in zone else least


def _low_passed(wave: NDArray[np.float32], cutoff: float, rate: int) -> NDArray[np.float32]:
    """Twelve decibels an octave above the cut-off, without phase."""
    if cutoff > 0.4 * rate:
        return wave
    spectrum = np.fft.rfft(wave)
    frequencies = np.fft.rfftfreq(len(wave), 1 / rate)
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(1 + (frequencies / cutoff) ** 4), len(wave)), np.float32)


def main() -> None:
    """Read the soundfont, cut, and write the folder."""
    font = Font.read(Path(sys.argv[1]))
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("src/miaobi/builtin/instruments")
    blob, listed = b"", {}
    for instrument in INSTRUMENTS.values():
        if instrument.sound != "font":
            continue
        entries = []
        for zone in chosen(font, font.preset(instrument.program), instrument.low, instrument.high):
            data, about = cut(font, zone)
            entries.append({**about, "start": len(blob), "bytes": len(data)})
            blob += data
        listed[instrument.name] = sorted(entries, key=lambda entry: entry["root"])
        print(f"{instrument.name:14} {len(entries):3} samples {sum(entry['bytes'] for entry in entries):9,} bytes")
    with new_folder(target, replace=True) as fresh:
        write_bytes(fresh / "samples.bin", blob)
        about = {"sha256": hashlib.sha256(blob).hexdigest(), "instruments": listed}
        write_text(fresh / "instruments.json", json.dumps(about, indent=1) + "\n")
        write_text(fresh / "NOTICE.md", NOTICE)
    print(f"{len(blob):,} bytes in {target}")


NOTICE = """# Instruments

Cut from MuseScore General (Lite), a soundfont under the MIT licence, by `recipes/build_instruments.py`.

- Adaptation for MuseScore General: Copyright © 2018-2021 S. Christian Collins
- Fluid (R3) Mono GM soundfont: Copyright © 2014-2017 Michael Cowgill
- Fluid (R3) GM soundfont: Copyright © 2000-2002, 2008 Frank Wen
- Splendid Grand piano: from AKAI S5000, public domain

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the
"Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the
following conditions: The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

if __name__ == "__main__":
    main()
