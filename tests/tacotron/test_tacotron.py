"""Tacotron: speaking in NumPy is the network, texts become symbols, and attention is measured and shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.artifact import new_folder, seal
from miaobi.core.errors import DataError, UsageError
from miaobi.core.families import families
from miaobi.core.schema import validate
from miaobi.core.types import Done, Media, Modality, Piece, Record, Request
from miaobi.data.pictures import decode as decode_picture
from miaobi.data.sounds import Sound, decode, encode
from miaobi.models.common.mel import SILENCE
from miaobi.models.tacotron import alignment
from miaobi.models.tacotron.schema import Config, Options
from miaobi.models.tacotron.speaker import Said
from miaobi.models.tacotron.text import Alphabet, sentences, symbols_of

torch = pytest.importorskip("torch")
RATE = 4000
TINY = dict(families()["tacotron"].tiny)
SAID = ("la lo.", "lo la la.", "la la.", "lo lo la.")


def syllables(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A tone for each syllable: low for la, high for lo."""
    time = np.arange(600) / RATE
    tones = {"la": 250, "lo": 900}
    waves = [0.5 * np.sin(2 * np.pi * tones[word] * time) * np.hanning(600) for word in text.strip(".").split()]
    return np.concatenate([np.zeros(300), *waves, np.zeros(500)]).astype(np.float32)


def record(text: str, **meta: Any) -> Record:
    data = encode(Sound(syllables(text), RATE))
    return Record(id=text, parts=(Media(modality=Modality.AUDIO, mime="audio/wav", data=data),), meta={"text": text, **meta})


RECORDS = [record(text) for text in SAID]


def model(**changes: Any) -> Any:
    from miaobi.models.tacotron.model import Tacotron

    made = Tacotron.create({**TINY, **changes}, RECORDS, seed=2)
    torch.manual_seed(0)
    for module in made.network.modules():  # statistics of a training, so that folding them in is put to the test
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return made


def test_speaking_is_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the prenet's chance, NumPy step by step and torch over all steps write the same frames with the same attention."""
    from miaobi.models.tacotron import network, speaker

    monkeypatch.setattr(network, "ALWAYS_DROPPED", 0.0)
    monkeypatch.setattr(speaker, "ALWAYS_DROPPED", 0.0)
    made = model()
    made.network.eval()
    made.network.stop.bias.data.fill_(-100)  # so that it goes on
    symbols = made.alphabet.read("lo la lo.", "characters")
    [said] = [one for one in made.speaker.say(symbols, np.random.default_rng(0), most_frames=12) if isinstance(one, Said)]
    frames = torch.zeros(1, 12, 16)
    with torch.no_grad():
        for _ in range(7):  # each round the network is shown what it wrote, one step further
            spoken = made.network(torch.tensor([symbols]), torch.tensor([len(symbols)]), frames, torch.tensor([12]))
            frames = spoken.frames
    np.testing.assert_allclose(said.frames, np.maximum(spoken.mended[0].numpy(), SILENCE), atol=1e-5)
    np.testing.assert_allclose(said.weights, spoken.weights[0].numpy(), atol=1e-6)
    assert not said.ended


def test_padding_changes_nothing() -> None:
    """A text is read alike alone and beside a longer one."""
    made = model()
    made.network.eval()
    with torch.no_grad():
        both, alone = (made.codec.collate(records) for records in (RECORDS[:2], RECORDS[:1]))
        together = made.network.encode(both["symbols"], both["lengths"])
        single = made.network.encode(alone["symbols"], alone["lengths"])
    count = int(alone["lengths"][0])
    torch.testing.assert_close(together[0, :count], single[0])
    assert float(together[0, count:].abs().max()) == 0


def test_the_stop_is_wanted_at_the_last_step_only() -> None:
    made = model()
    batch = made.codec.collate(RECORDS)
    steps = (batch["ends"] + 1) // 2
    from miaobi.models.tacotron import network

    def loss_with_stop_at(offset: int) -> float:
        count = batch["frames"].shape[1] // 2
        stops = torch.full((len(RECORDS), count), -20.0)
        for row, step in enumerate(steps):
            stops[row, int(step) - 1 + offset] = 20.0
        weights = torch.full((len(RECORDS), count, batch["symbols"].shape[1]), 0.1)
        spoken = network.Spoken(batch["frames"], batch["frames"], stops, weights)
        made.network.forward = lambda *_: spoken
        return float(made.loss(batch, "main").logs["stop"])

    assert loss_with_stop_at(0) < 1e-3
    assert loss_with_stop_at(-1) > 100


def test_the_guide_lets_the_diagonal_pass() -> None:
    from miaobi.models.tacotron.model import off_diagonal

    lengths, steps = torch.tensor([20, 10]), torch.tensor([20, 20])
    penalty = off_diagonal(lengths, steps, torch.Size((2, 20, 20)), 0.2)
    assert float(penalty[0].diagonal().max()) == 0
    assert float(penalty[0, 0, 19]) > 0.99
    assert float(penalty[1, 10, 5]) == 0, "a shorter text has a steeper diagonal"


def test_it_learns_to_read_and_to_stop() -> None:
    """After a short training on tones for syllables, held-out orders of them are read off the text: attention moves, the end is found."""
    from miaobi.models.tacotron.model import Tacotron

    torch.manual_seed(0)
    torch.set_num_threads(1)
    made = Tacotron.create({**TINY, "dropout": 0.0}, RECORDS, seed=1)
    optimizer = torch.optim.Adam(made.network.parameters(), lr=1e-2)
    batch = made.codec.collate(RECORDS)
    for _ in range(60):
        loss = made.loss(batch, "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(made.network.parameters(), 1.0)
        optimizer.step()
    made.network.eval()
    chunks = generated(made, Request.of("lo la.", seed=3))
    [done] = [chunk for chunk in chunks if isinstance(chunk, Done)]
    assert done.reason == "stop"
    assert done.notes["order"] > 0.9
    assert done.notes["coverage"] > 0.6


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("The  fox", "characters", ["t", "h", "e", " ", "f", "o", "x", "."]),
        ("Rain, now!", "characters", ["r", "a", "i", "n", ",", " ", "n", "o", "w", "!"]),
        ("中国。", "pinyin", ["zh", "ong1", "g", "uo2", "."]),
        ("女儿 OK", "pinyin", ["n", "v3", "er2", " ", "o", "k", "."]),
        ("银行行", "pinyin", ["y", "in2", "h", "ang2", "x", "ing2", "."]),
        ("həlˈO", "phonemes", ["h", "ə", "l", "ˈ", "O", "."]),
    ],
)
def test_texts_as_symbols(text: str, kind: Any, expected: list[str]) -> None:
    if kind == "pinyin":
        pytest.importorskip("pypinyin")
    assert symbols_of(text, kind) == expected


def test_sentences_are_spoken_one_by_one() -> None:
    assert sentences("One. Two!  三个？\nno end") == ["One.", "Two!", "三个？", "no end"]
    assert sentences(" … ?! ") == []


def test_unknown_letters_are_named_and_quotes_left_out() -> None:
    alphabet = Alphabet.of(SAID, "characters")
    assert alphabet.read("“la”", "characters") == alphabet.read("la", "characters")
    with pytest.raises(UsageError, match="never heard x 中"):
        alphabet.read("la x 中", "characters")


def test_silence_at_the_ends_is_cut() -> None:
    """A syllable's tone rises and falls, so its own ends are quiet, too; a twentieth of a second stays around it."""
    frames = model().codec.spectrogram(record("la."))
    assert 5 <= len(frames) <= 1 + (600 + 2 * 200) // 100


def test_attention_is_measured() -> None:
    diagonal = np.eye(20, dtype=np.float32)
    assert alignment.figures(diagonal) == {"focus": 1.0, "order": 1.0, "coverage": 1.0}
    stuck = np.zeros((20, 20), np.float32)
    stuck[:, 3] = 1
    assert alignment.figures(stuck)["coverage"] == pytest.approx(1 / 20)
    assert alignment.score(np.full((20, 20), 0.05, np.float32)) < 0.05, "attention that looks everywhere reads nothing"
    rng = np.random.default_rng(0)
    shuffled = diagonal[rng.permutation(20)]
    assert alignment.figures(shuffled)["order"] < 0.7
    skipping = diagonal[::10]
    assert alignment.figures(skipping)["coverage"] == pytest.approx(1.0) or alignment.score(skipping) < 1


def test_attention_is_shown() -> None:
    media = alignment.picture([np.eye(4, dtype=np.float32), np.eye(6, 3, dtype=np.float32)])
    pixels = decode_picture(media.data)
    height, width = pixels.shape[0] // 7, pixels.shape[1] // 10
    bright = pixels[height // 2 :: height, width // 2 :: width, 0] > 200
    assert bright[6, 0], "the first symbol is below, the first step left"
    assert bright[3, 3]
    assert not bright[0, 0]
    assert not bright[6, 5], "the second sentence begins above the first"


def generated(made: Any, request: Request) -> list[Any]:
    options = validate(Options, {"most_seconds": 0.6, "iterations": 2, **request.options}, "options").model_dump(mode="json")
    return list(made.generate(dataclasses.replace(request, options=options)))


def test_sound_picture_and_notes_come_out() -> None:
    made = model()
    chunks = generated(made, Request.of("la lo. lo la!", attention=True, seed=1))
    sound, picture = (chunk.part for chunk in chunks if isinstance(chunk, Piece))
    assert (sound.modality, picture.modality) == (Modality.AUDIO, Modality.IMAGE)
    assert decode(sound.data).rate == RATE
    [done] = [chunk for chunk in chunks if isinstance(chunk, Done)]
    assert done.notes.keys() == {"alignment", "focus", "order", "coverage", "ended", "vocoder"}
    assert done.reason == ("stop" if done.notes["ended"] else "length")


def test_a_wavenet_makes_it_heard(tmp_path: Path) -> None:
    """By its folder, or taken along; of another spectrogram it is refused, and so is what is no vocoder."""
    wavenet: Any = families()["wavenet"].model_class()
    shape = {"rate": RATE, "mel": TINY["mel"], "width": 8, "skip": 8, "depth": 3, "crop": 400}
    folders = {}
    for name, config in {
        "fits": {**shape, "conditions": ["mel"]},
        "other": {**shape, "conditions": ["mel"], "mel": {**TINY["mel"], "bands": 20}},
        "free": shape,
    }.items():
        folders[name] = tmp_path / name
        with new_folder(folders[name]) as making:
            wavenet.create(config, RECORDS).save(making)
            seal(making, family="wavenet", name=name)
    made = model()
    plain, heard = (generated(made, Request.of("la.", seed=1, vocoder=name)) for name in ("griffin-lim", str(folders["fits"])))
    assert plain[-1].notes["vocoder"] == "griffin-lim"
    sounds = [decode(next(chunk.part for chunk in chunks if isinstance(chunk, Piece)).data) for chunks in (plain, heard)]
    assert len(sounds[0].samples) == len(sounds[1].samples)
    for name, problem in {"other": "must be the same", "free": "no vocoder"}.items():
        with pytest.raises(UsageError, match=problem):
            generated(made, Request.of("la.", vocoder=str(folders[name])))
    along = model(vocoder=str(folders["fits"]))
    along.save(tmp_path)
    runtime: Any = families()["tacotron"].runtime_class()
    loaded = runtime.load(tmp_path)
    chunks = generated(loaded, Request.of("la.", seed=1))
    assert chunks[-1].notes["vocoder"] == "own"


def test_bad_requests_are_explained() -> None:
    made = model()
    with pytest.raises(UsageError, match="nothing to say"):
        generated(made, Request.of(" … "))
    with pytest.raises(UsageError, match="at most 10,000"):
        generated(made, Request.of("la " * 5000))
    with pytest.raises(UsageError, match="unknown model 'nobody'"):
        generated(made, Request.of("la", vocoder="nobody"))
    with pytest.raises(UsageError, match="location_kernel 30 should be odd"):
        validate(Config, {"location_kernel": 30}, "config")
    with pytest.raises(DataError, match="no text that says"):
        made.codec.collate([dataclasses.replace(RECORDS[0], meta={})])
