"""What long sounds and films cost: memory of a film by its length, processor seconds of verifying a sound of an hour.

    python benchmarks/long_media.py film 2      # minutes; a process each, since the peak of a process never falls
    python benchmarks/long_media.py film 10
    python benchmarks/long_media.py verify 60

The films are small and slow (96 by 64, two frames a second), so that it is their sound that counts: a voice of 24 kHz over music that goes
round. Each prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from miaobi import api
from miaobi.core.apps import Desk
from miaobi.data import sound_writer
from miaobi.data.recordings import Recording
from miaobi.data.sounds import Samples

SCENE = 30  # seconds


def tone(seconds: float, rate: int, *, channels: int = 1, pitch: float = 220.0) -> Samples:
    """A tone that comes and goes, over a little noise (T, channels)."""
    times = np.arange(round(seconds * rate)) / rate
    heard = 0.2 * np.sin(2 * np.pi * pitch * times) * (np.sin(2 * np.pi * 0.4 * times) > 0)
    noise = np.random.default_rng(0).normal(0, 0.003, len(times))
    return np.repeat((heard + noise).astype(np.float32)[:, None], channels, axis=1)


def write(path: Path, samples: Samples, rate: int, *, times: int = 1) -> None:
    """The samples so many times after each other, as a file."""
    sound = Recording(play=lambda: (samples for _ in range(times)), rate=rate, channels=samples.shape[1], length=times * len(samples))
    sound_writer.write(sound, path)


def film(folder: Path, minutes: int) -> dict[str, object]:
    """Render a film of so many minutes."""
    from miaobi.apps.common.film import render
    from miaobi.apps.common.script import Script

    write(folder / "voice.wav", tone(20, 24_000), 24_000)
    write(folder / "music.wav", tone(45, 44_100, channels=2, pitch=330), 44_100)
    scenes = f"- card: a\n  seconds: {SCENE}\n  narration: {{file: voice.wav, at: 2}}\n" * (60 * minutes // SCENE)
    timeline = folder / "film.yaml"
    timeline.write_text(f"size: [96, 64]\nfps: 2\nscenes:\n{scenes}music: {{file: music.wav, duck: 12}}\n", encoding="utf-8")
    made = render(Script.load(timeline), folder / "film.mp4", Desk(load=api.load))
    return {"content": made.label.content_sha256}


def verify(folder: Path, minutes: int) -> dict[str, object]:
    """Look at a sound of so many minutes, which carries a watermark."""
    from miaobi.trust import sound_watermark
    from miaobi.trust.verify import verify as look

    marked = sound_watermark.embed(tone(57.6, 24_000), 24_000, 0x0123456789ABCDEF)  # ten periods of the mark
    write(folder / "long.wav", marked, 24_000, times=round(minutes * 60 / 57.6))
    before = time.process_time()
    found = look(folder / "long.wav").watermark
    assert found is not None
    return {"found": found.describe(), "p": found.p_value, "verify_seconds": round(time.process_time() - before, 2)}


def main() -> None:
    """One measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("film", "verify"))
    parser.add_argument("minutes", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = {"film": film, "verify": verify}[arguments.what](Path(folder), arguments.minutes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        json.dumps(
            {"what": arguments.what, "minutes": arguments.minutes, "peak_mb": peak, "seconds": round(time.process_time(), 1), **told}
        )
    )


if __name__ == "__main__":
    main()
