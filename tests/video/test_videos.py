"""Films and loops go in and out whole: pixels, rates, lengths, sound; what is broken or cannot be written is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from miaobi.core.errors import DataError, UsageError
from miaobi.data import video_loops, videos
from miaobi.data.videos import Clip, Writer, decode, encode, frames_of, probe

ALL = ("video/mp4", "video/webm", "image/gif", "image/webp")


def square(count: int = 12, *, size: tuple[int, int] = (64, 48), channels: int = 3) -> np.ndarray:
    """A green square that moves to the right over red; with four channels, over nothing."""
    frames = np.zeros((count, size[1], size[0], channels), np.uint8)
    frames[..., :3] = (230, 40, 30)
    for number, frame in enumerate(frames):
        frame[10:30, 2 + 2 * number : 22 + 2 * number, :3] = (20, 200, 60)
        if channels == 4:
            frame[10:30, 2 + 2 * number : 22 + 2 * number, 3] = 255
    return frames


@pytest.mark.parametrize("mime", ALL)
def test_a_clip_comes_back(mime: str) -> None:
    if mime.startswith("video"):
        pytest.importorskip("av")
    clip = Clip(square(), 24.0)
    data = encode(clip, mime)
    back = decode(data)
    assert videos.mime_of(data) == mime
    assert encode(clip, mime) == data
    assert back.frames.shape == clip.frames.shape
    assert back.fps == pytest.approx(24, rel=0.02)
    assert back.seconds == pytest.approx(0.5, rel=0.02)
    away = np.abs(back.frames.astype(int) - clip.frames)
    inside = away[:, 32:46, 4:60]  # away from the square's edge, where colours are shared by twos
    assert inside.max() <= (6 if mime.startswith("video") else 0)
    assert [place.argmax() for place in (back.frames[:, 20, :, 1] > 120)] == pytest.approx([2 + 2 * n for n in range(12)], abs=1)


@pytest.mark.parametrize("fps", [5.0, 12.5, 23.8, 24.0, 30.0, 40.0, 50.0])
@pytest.mark.parametrize("mime", ["image/gif", "image/webp"])
def test_a_loop_keeps_its_rate_and_stillness(mime: str, fps: float) -> None:
    frames = square(20, channels=4)
    frames[4:9] = frames[4]  # writers join these
    back = decode(encode(Clip(frames, fps), mime))
    assert back.frames.shape == frames.shape
    assert back.fps == pytest.approx(fps, rel=0.06 if mime == "image/gif" else 0.01)
    assert (back.frames[..., 3] == frames[..., 3]).all()
    assert (back.frames[frames[..., 3] > 0] == frames[frames[..., 3] > 0]).all()


def test_delays_that_are_no_multiples_are_shown_at_the_quickest() -> None:
    frames = square(3, channels=4)
    loop = video_loops.Loop(frames, [50, 70, 330])
    shown, fps = video_loops.even(loop)
    assert fps == 20
    assert len(shown) == 9
    assert (shown[-1] == frames[2]).all()
    assert len(video_loops.even(loop, 10.0)[0]) == 4  # 0.45 s at ten frames a second, from 4.5


def test_more_colours_than_a_gif_has() -> None:
    ramp = np.zeros((2, 64, 64, 4), np.uint8)
    ramp[..., 3] = 255
    ramp[..., 0], ramp[..., 1] = np.arange(64) * 4, np.arange(64)[:, None] * 4
    back = decode(encode(Clip(ramp, 10.0), "image/gif"))
    assert np.abs(back.frames.astype(int) - ramp[:1, ..., :3]).max() < 24


def test_sound_goes_along() -> None:
    pytest.importorskip("av")
    from miaobi.data.sounds import Sound

    wave = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000).astype(np.float32) * 0.5
    for mime in ("video/mp4", "video/webm"):
        data = encode(Clip(square(), 12.0, Sound(wave[:, None], 48000)), mime)
        assert probe(data).has_sound
        sound = decode(data).sound
        assert sound is not None
        assert sound.seconds == pytest.approx(1.0, abs=0.06)
        spectrum = np.abs(np.fft.rfft(sound.mono().samples[:, 0]))
        assert spectrum.argmax() / sound.seconds == pytest.approx(440, abs=2)


def test_going_through_a_stretch(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    with Writer(path, size=(64, 48), fps=25) as writer:
        for level in range(100):
            writer.add(np.full((48, 64, 3), 2 * level, np.uint8))
    found = list(frames_of(path, start=2.0, stop=2.4))
    assert [round(time, 3) for time, _ in found] == [2.0, 2.04, 2.08, 2.12, 2.16, 2.2, 2.24, 2.28, 2.32, 2.36]
    assert [float(frame.mean()) for _, frame in found] == pytest.approx([2.0 * n for n in range(50, 60)], abs=2)
    halved = [float(frame.mean()) for _, frame in frames_of(path, fps=12.5)]
    assert len(halved) == 50
    assert halved == pytest.approx([4.0 * n + 2 for n in range(50)], abs=3)


def test_a_film_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the old one")

    def broken_off() -> None:
        with Writer(path, size=(64, 48), fps=24) as writer:
            writer.add(square()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    with pytest.raises(DataError, match="at least one frame"), Writer(path, size=(64, 48), fps=24):
        pass
    assert path.read_bytes() == b"the old one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]

    def of_two_sizes() -> None:
        with Writer(path, size=(64, 48), fps=24) as writer:
            writer.add(square()[0])
            writer.add(square(size=(48, 64))[0])

    with pytest.raises(DataError, match="frame 2 has 48 by 64"):
        of_two_sizes()
    assert path.read_bytes() == b"the old one"


FULL = """
import errno, sys
from pathlib import Path
import numpy as np
from miaobi.core.errors import MiaobiError
from miaobi.data import video_writer

def small(path, mode):
    file = open(path, mode)
    class Disk:  # one with room for 20,000 bytes
        left = 20_000
        def write(self, data):
            Disk.left -= len(data)
            if Disk.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return file.write(data)
        def seek(self, *where): return file.seek(*where)
        def tell(self): return file.tell()
        def flush(self): return file.flush()
        def fileno(self): return file.fileno()
        def close(self): return file.close()
        def __enter__(self): return self
        def __exit__(self, *error): file.close()
    return Disk()

Path.open = small
rng = np.random.default_rng(0)
try:
    with video_writer.Writer(Path(sys.argv[1]), size=(128, 128), fps=24) as writer:
        for _ in range(60):
            writer.add(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8))
except MiaobiError as error:
    print(error)
print(sorted(path.name for path in Path(sys.argv[1]).parent.iterdir()))
"""


def test_a_full_disk_leaves_no_half_film(tmp_path: Path) -> None:
    pytest.importorskip("av")
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "film.mp4")], capture_output=True, text=True, check=False)
    assert "the disk is full" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_odd_sides(tmp_path: Path) -> None:
    pytest.importorskip("av")
    with pytest.raises(UsageError, match="Take 66 by 48"):
        Writer(tmp_path / "film.mp4", size=(65, 48), fps=24)
    odd = Clip(square(3, size=(65, 47)), 24.0)
    assert decode(encode(odd)).frames.shape == (3, 48, 66, 3)
    assert decode(encode(odd, "image/webp")).frames.shape == (3, 47, 65, 3)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("av")
    clip = Clip(square(2), 24.0)
    with pytest.raises(UsageError, match="unknown film format 'video/ogg'"):
        encode(clip, "video/ogg")
    with pytest.raises(UsageError, match="unknown film format"):
        Writer(tmp_path / "film.avi", size=(64, 48), fps=24)
    for fps in (0.0, -1.0, 1000.0, float("nan")):
        with pytest.raises(UsageError, match="frames a second"):
            Writer(tmp_path / "film.mp4", size=(64, 48), fps=fps)
    with pytest.raises(UsageError, match="frames a second"):
        encode(Clip(square(2), 90.0), "image/gif")
    with pytest.raises(UsageError, match="not 0 by 48"):
        Writer(tmp_path / "film.mp4", size=(0, 48), fps=24)


def test_an_encoder_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    from miaobi.data import video_writer

    kind = video_writer.CONTAINERS["video/mp4"]
    monkeypatch.setitem(video_writer.CONTAINERS, "video/mp4", video_writer.Container("mp4", ("h269",), kind.sounds, kind.options, ".mp4"))
    with pytest.raises(UsageError, match=r"no encoder for video/mp4 \(h269\)"):
        Writer(tmp_path / "film.mp4", size=(64, 48), fps=24)


@pytest.mark.parametrize("mime", ALL)
def test_damaged_bytes_never_end_in_a_traceback(mime: str) -> None:
    if mime.startswith("video"):
        pytest.importorskip("av")
    data = encode(Clip(square(), 24.0), mime)
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(40):
        broken = bytearray(data[: int(len(data) * rng.uniform(0.05, 1))] if number % 2 else data)
        for place in rng.integers(0, len(broken), 12):
            broken[place] = rng.integers(256)
        try:
            clip = decode(bytes(broken))
        except DataError:
            refused += 1
        else:
            assert len(clip.frames)
    assert refused > 4


@pytest.mark.parametrize("mime", ALL)
def test_what_is_no_film(mime: str, tmp_path: Path) -> None:
    if mime.startswith("video"):
        pytest.importorskip("av")
    for data, message in ((b"", "no bytes"), (b"hello, world", "no film"), (encode(Clip(square(2), 24.0), mime)[:40], "loop|film|picture")):
        with pytest.raises(DataError, match=message):
            decode(data)
    with pytest.raises(DataError, match="cannot be read"):
        decode(tmp_path / "nowhere.mp4")


def test_a_codec_that_nobody_knows_and_a_film_without_pictures() -> None:
    pytest.importorskip("av")
    data = encode(Clip(square(), 24.0))
    with pytest.raises(DataError, match="codec"):
        decode(data.replace(b"avc1", b"zzzz"))
    sounds = pytest.importorskip("miaobi.data.sounds")
    silent = sounds.encode(sounds.Sound(np.zeros((8000, 1), np.float32), 8000), "audio/mp4")
    with pytest.raises(DataError, match="no moving picture"):
        decode(silent)


def test_limits() -> None:
    pytest.importorskip("av")
    for mime in ALL:
        data = encode(Clip(square(), 24.0), mime)
        with pytest.raises(DataError, match="more than"):
            decode(data, limits=videos.Limits(num_frames=5))
        with pytest.raises(DataError, match=r"more than|at most"):
            decode(data, limits=videos.Limits(num_decoded_bytes=64 * 48 * 3, num_pixels=100))
        with pytest.raises(DataError, match="at most 10 are read"):
            decode(data, limits=videos.Limits(num_bytes=10))


def test_rates() -> None:
    assert [str(videos.rate_of(fps)) for fps in (29.97, 23.976, 24, 12.5, 30000 / 1001)] == [
        "30000/1001",
        "24000/1001",
        "24",
        "25/2",
        "30000/1001",
    ]
