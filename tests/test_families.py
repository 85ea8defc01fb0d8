"""The contract that every family signs: its `tiny` configuration goes through a whole life.

create → learn (the loss falls) → save and load (the same output) → generate (labelled) → cancel → and the declared verbs are those that
the class can do. Whatever is under `models/` or comes in through an entry point is tested without an edit here. Families of text learn
seven poems, families of pictures eight drawings that carry everything a picture may be described by, families of sounds four hums.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.artifact import new_folder, open_artifact, seal
from miaobi.core.families import Family, families
from miaobi.core.protocols import Adaptable, Exporter, Fitter, Learner, Model, Scorer
from miaobi.core.schema import validate
from miaobi.core.types import Content, Done, Media, Modality, Part, Piece, Record, Request, Verb
from miaobi.data import abc, scores, sounds, videos
from miaobi.data.pictures import decode, encode
from miaobi.engine.generate import collect

SMALL = {"max_tokens": 40, "n": 2, "steps": 3}
# what a family needs to be asked when it has learned seven poems: 七绝 would want rhymes that their few characters lack
OPTIONS: dict[str, dict[str, Any]] = {
    "music": {"bars": 2, "max_tokens": 400},
    "tacotron": {"most_seconds": 0.5, "iterations": 2},
    "verse": {"form": "古体"},
    "wavenet": {"seconds": 0.1},
}
POEMS = [
    ("静夜思", "李白", "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"),
    ("登鹳雀楼", "王之涣", "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"),
    ("春晓", "孟浩然", "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。"),
    ("江雪", "柳宗元", "千山鸟飞绝，万径人踪灭。\n孤舟蓑笠翁，独钓寒江雪。"),
    ("相思", "王维", "红豆生南国，春来发几枝。\n愿君多采撷，此物最相思。"),
    ("鹿柴", "王维", "空山不见人，但闻人语响。\n返景入深林，复照青苔上。"),
    ("鸟鸣涧", "王维", "人闲桂花落，夜静春山空。\n月出惊山鸟，时鸣春涧中。"),
]
TEXTS = [
    Record(id=title, parts=(text,), meta={"title": title, "author": author, "era": "唐", "kind": "shi"}) for title, author, text in POEMS
]
COLOURS = {"red": ("红色", (220, 40, 40)), "green": ("绿色", (40, 180, 60))}
SHAPES = {"disc": "圆", "square": "方"}


def draw(shape: str, colour: tuple[int, int, int], filled: bool) -> Media:
    """A shape of 16 by 16 pixels on nothing, filled or only its edge."""
    y, x = np.mgrid[-7.5:8, -7.5:8]
    distance = np.hypot(x, y) if shape == "disc" else np.maximum(abs(x), abs(y))
    inside = (distance < 6) if filled else (distance < 6) & (distance > 3)
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[inside] = (*colour, 255)
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels))


PICTURES = [
    Record(
        id=f"{colour}-{shape}-{style}",
        parts=(draw(shape, rgb, style == "flat"),),
        meta={
            "caption": {"zh": [f"{chinese}的{SHAPES[shape]}"], "en": [f"a {colour} {shape}"]},
            "concept": f"{colour} {shape}",
            "class": shape,
            "style": style,
        },
    )
    for colour, (chinese, rgb) in COLOURS.items()
    for shape in SHAPES
    for style in ("flat", "line")
]


def moving(picture: Media, down: bool) -> Media:
    """A loop of four frames in which the picture goes a pixel or two to and fro."""
    frame = decode(picture.data)
    frames = np.stack([np.roll(frame, step, axis=0 if down else 1) for step in (0, 1, 2, 1)])
    return Media(modality=Modality.VIDEO, mime="image/webp", data=videos.encode(videos.Clip(frames, 6.0), "image/webp"))


FILMS = [
    dataclasses.replace(record, parts=(moving(record.parts[0], record.meta["class"] == "disc"),))
    for record in PICTURES
    if isinstance(record.parts[0], Media)
]
TUNES = ("CE GE|DF AF|EG cG|FD C2|", "GE CE|AF DF|BG DG|c2 C2|", "C2 E2|D2 F2|E2 G2|C4|", "cG EC|dA FD|eB GE|c4|")


def tunes() -> list[Record]:
    """Four little tunes as MIDI."""
    read = [abc.read_tune(f"X:1\nM:2/4\nL:1/8\nK:C\n{tune}") for tune in TUNES]
    media = [Media(modality=Modality.MUSIC, mime=scores.MIME, data=scores.write_midi(score)) for score in read]
    return [Record(id=str(number), parts=(tune,)) for number, tune in enumerate(media)]


def hums() -> list[Record]:
    """Four hums of a fifth of a second, high or low, which a name says."""
    time = np.arange(800) / 4000
    waves = {
        f"春{name}{number}": (name, 0.6 * np.sin(2 * np.pi * (pitch + 40 * number) * time)) for name, pitch in HUMS for number in (0, 1)
    }
    media = {said: sounds.encode(sounds.Sound(wave.astype(np.float32), 4000)) for said, (_, wave) in waves.items()}
    return [
        Record(id=said, parts=(Media(modality=Modality.AUDIO, mime="audio/wav", data=media[said]),), meta={"text": said, "class": name})
        for said, (name, _) in waves.items()
    ]


HUMS = (("low", 200), ("high", 600))
READS_PICTURES = {"caption", "scorer"}  # they write texts about pictures
GIVEN: dict[str, tuple[Part, ...]] = {  # what a family is asked with, where it is not the prompt 春
    "gan": (),
    "vae": (),
    "caption": PICTURES[0].parts,
    "scorer": ("a red disc\n一个绿色的方块", *PICTURES[0].parts),
    "style": PICTURES[0].parts,
    "video": ("红色的圆", *PICTURES[0].parts),
    "wavenet": ("high",),
}
PROTOCOLS: dict[Verb, type[Any]] = {
    Verb.ADAPT: Adaptable,
    Verb.EXPORT: Exporter,
    Verb.FIT: Fitter,
    Verb.SCORE: Scorer,
    Verb.TRAIN: Learner,
}


LEARNING = [name for name, family in families().items() if family.verbs & {Verb.TRAIN, Verb.FIT}]  # others only load what exists


@pytest.fixture(params=LEARNING, scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    """Each family whose packages are here."""
    found = families()[request.param]
    for package in found.packages:
        pytest.importorskip(package)
    return found


@pytest.fixture(scope="module")
def records(family: Family) -> list[Record]:
    """What the family learns from."""
    if Modality.VIDEO in family.outputs:
        return FILMS
    if Modality.MUSIC in family.outputs:
        return tunes()
    if Modality.AUDIO in family.outputs:
        return hums()
    return PICTURES if Modality.IMAGE in family.outputs or family.name in READS_PICTURES else TEXTS


@pytest.fixture(scope="module")
def learned(family: Family, records: list[Record]) -> tuple[Any, float, float]:
    """The tiny model after learning the records, and its loss before and after."""
    kind: Any = family.model_class()
    model = kind.create(family.tiny, records, seed=1)
    if Verb.TRAIN in family.verbs:
        return model, *train(model, records)
    model.fit(iter(records))
    ignorant = kind.create(family.tiny, records, seed=1)
    ignorant.fit(records[:1])
    return model, bits(ignorant, records), bits(model, records)


def train(model: Any, records: list[Record]) -> tuple[float, float]:
    """Thirty steps of Adam on one batch, every phase of the family in turn; the mean of the first three and the last three losses.

    The losses are those of the first phase; a few of them, because families that draw noise have noisy ones.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    batch = model.codec.collate(records)
    optimizers = {phase: torch.optim.Adam(model.trainable(phase), lr=3e-3) for phase in model.phases}
    losses = []
    model.network.train()
    for _, phase in itertools.product(range(30), model.phases):
        loss = model.loss(batch, phase)
        assert loss.count > 0
        optimizers[phase].zero_grad()
        (loss.total / loss.count).backward()
        optimizers[phase].step()
        if phase == model.phases[0]:
            losses.append(loss.total.item() / loss.count)
    return sum(losses[:3]) / 3, sum(losses[-3:]) / 3


def bits(model: Any, records: list[Record]) -> float:
    return sum(score.bits for score in model.score(records))


def ask(family: Family, **more: Any) -> Request:
    """A small request of options that the family has."""
    known = family.schemas()[1].model_fields
    options = {name: value for name, value in (SMALL | more).items() if name in known}
    return Request.of(GIVEN.get(family.name, ("春",)), seed=7, **(options | OPTIONS.get(family.name, {})))


def whole(family: Family, request: Request) -> Request:
    """The request as the engine hands it to the model: every option filled in."""
    options = validate(family.schemas()[1], request.options, "options").model_dump(mode="json")
    return dataclasses.replace(request, options=options)


def pixels(media: Media) -> Any:
    """What is to be seen: a picture, or all frames of a film; of music the start, length, pitch and loudness of every note, and of a sound
    its samples in 16 bits.
    """
    if media.modality is Modality.AUDIO:
        return np.rint(sounds.decode(media.data).samples * 32767)
    if media.modality is Modality.MUSIC:
        parts = scores.read_midi(media.data).parts
        return np.array([dataclasses.astuple(note) for part in parts for note in part.notes])
    return videos.decode(media.data).frames if media.modality is Modality.VIDEO else decode(media.data)


def seen(contents: list[Content]) -> list[list[Any]]:
    """Texts, and of pictures and films the pixels: their bytes hold the label, and so the time."""
    return [[(part.mime, pixels(part).tolist()) if isinstance(part, Media) else part for part in content.parts] for content in contents]


def assert_alike(found: list[Content], expected: list[Content]) -> None:
    """Equal texts, and pictures and sounds that nobody tells apart: two runtimes sum in other orders."""
    assert len(found) == len(expected)
    pairs = zip(
        (part for content in found for part in content.parts), (part for content in expected for part in content.parts), strict=True
    )
    for ours, theirs in pairs:
        if isinstance(ours, Media) and isinstance(theirs, Media):
            assert (ours.mime, ours.name) == (theirs.mime, theirs.name)
            difference = np.abs(pixels(ours).astype(int) - pixels(theirs))
            assert difference.mean() < 1
            assert difference.max() <= 8
        else:
            assert ours == theirs


def test_tiny_is_a_configuration(family: Family) -> None:
    config, options = family.schemas()
    validate(config, family.tiny, "tiny")
    validate(options, {}, "options")
    assert config.model_json_schema()["additionalProperties"] is False, "unknown keys are errors"


def test_declared_verbs_are_what_the_class_can_do(family: Family, learned: tuple[Any, float, float]) -> None:
    model = learned[0]
    assert isinstance(model, Model)
    assert Verb.GENERATE in family.verbs
    for verb, protocol in PROTOCOLS.items():
        assert isinstance(model, protocol) == (verb in family.verbs), f"{verb}: declared is not what {type(model).__name__} has"
    assert (model.card.family, model.card.outputs, model.card.verbs) == (family.name, family.outputs, family.verbs)


def test_the_loss_falls(learned: tuple[Any, float, float]) -> None:
    _, before, after = learned
    assert math.isfinite(after)
    assert after < 0.9 * before


def test_creating_is_reproducible(family: Family, records: list[Record]) -> None:
    """The same seed gives the same weights, another seed others (where anything is random)."""
    if Verb.TRAIN not in family.verbs:
        pytest.skip("nothing is random")
    model: Any = family.model_class()
    states = [model.create(family.tiny, records, seed=seed).network.state_dict() for seed in (1, 1, 2)]
    first, same, other = ([tensor.sum().item() for tensor in state.values()] for state in states)
    assert first == same
    assert first != other


def test_content_is_labelled_and_repeats_with_its_seed(family: Family, learned: tuple[Any, float, float]) -> None:
    model = learned[0]
    contents = collect(model, ask(family))
    assert [content.label.index for content in contents] == list(range(len(contents)))
    for content in contents:
        assert content.label.ai_generated
        assert (content.label.family, content.label.model, content.label.seed) == (family.name, model.card.name, 7)
        assert content.label.options.items() >= ask(family).options.items(), "what was asked is in the label"
    assert seen(collect(model, ask(family))) == seen(contents)


def test_every_content_ends_once(family: Family, learned: tuple[Any, float, float]) -> None:
    request = whole(family, ask(family))
    chunks = list(learned[0].generate(request))
    assert sorted(chunk.index for chunk in chunks if isinstance(chunk, Done)) == list(range(request.options.get("n", 1)))
    ended: set[int] = set()
    for chunk in chunks:
        assert not (isinstance(chunk, Piece) and chunk.index in ended), "nothing follows its end"
        if isinstance(chunk, Done):
            ended.add(chunk.index)
            assert chunk.usage.generated <= request.options.get("max_tokens", math.inf)


def test_closing_the_iterator_cancels(family: Family, learned: tuple[Any, float, float]) -> None:
    chunks = learned[0].generate(whole(family, ask(family, n=1)))
    next(chunks)
    chunks.close()
    assert next(chunks, None) is None


def test_saved_and_loaded_it_says_the_same(
    family: Family, records: list[Record], learned: tuple[Any, float, float], tmp_path: Path
) -> None:
    model = learned[0]
    folder = tmp_path / model.card.name
    with new_folder(folder) as making:
        model.save(making)
        seal(making, family=family.name, name=model.card.name)
    open_artifact(folder, verify=True)
    loaded: Any = family.model_class().load(folder)
    assert seen(collect(loaded, ask(family))) == seen(collect(model, ask(family)))
    if Verb.SCORE in family.verbs:
        assert bits(loaded, records) == pytest.approx(bits(model, records), rel=1e-5)


def test_the_light_runtime_says_what_the_model_says(family: Family, learned: tuple[Any, float, float], tmp_path: Path) -> None:
    """The likeliest text, or the picture of a seed, is the same from the exported graph and from the learner."""
    runtime: Any = family.runtime_class()
    if runtime is None:
        pytest.skip("the family has no other runtime")
    pytest.importorskip("onnx")
    model = learned[0]
    model.save(tmp_path)
    if not family.graphless:
        model.export(tmp_path, formats=["fp32"])
    greedy = ask(family, n=1, temperature=0.0)
    assert_alike(collect(runtime.load(tmp_path), greedy), collect(model, greedy))


def test_scores_are_likelihoods(family: Family, records: list[Record], learned: tuple[Any, float, float]) -> None:
    if Verb.SCORE not in family.verbs:
        pytest.skip("the family gives no likelihoods")
    scores = list(learned[0].score(records))
    assert [score.id for score in scores] == [record.id for record in records]
    assert all(score.bits > 0 for score in scores)
    if Modality.TEXT in family.outputs:
        assert all(score.tokens > 0 and 0 < score.characters <= score.bytes for score in scores)
    else:
        assert all(score.dimensions > 0 for score in scores)
