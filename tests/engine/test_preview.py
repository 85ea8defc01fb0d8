"""What a training shows of its pictures: labelled sheets beside the rows that name them, also after an interruption."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.recipe import Generate
from miaobi.core.schema import Schema
from miaobi.core.types import NOTHING, Card, Chunk, Done, Media, Modality, Piece, Record, Request, Verb
from miaobi.data.pictures import decode, encode
from miaobi.engine import generate
from miaobi.engine.journal import Journal, TrainEvent
from miaobi.engine.preview import preview, requests
from miaobi.trust import label
from miaobi.trust.verify import verify


class Options(Schema):
    """How many, and how red."""

    n: int = 1
    red: int = 0


class Painter:
    """Paints `n` pictures of one colour."""

    def __init__(self) -> None:
        self.card = Card(family="painter", name="painter", outputs=frozenset({Modality.IMAGE}), verbs=frozenset({Verb.TRAIN}))
        self.asked: list[Request] = []

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        self.asked.append(request)
        for index in range(request.options["n"]):
            pixels = np.full((8, 8, 4), (request.options["red"], request.seed % 256, index, 255), np.uint8)
            yield Piece(part=Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels)), index=index)
            yield Done(index=index)


class Prompted(Painter):
    """Knows what a record would have been asked with; of one it does not."""

    def request_for(self, record: Record, /) -> Request | None:
        return None if record.id == "1" else Request.of(record.id, red=int(record.id))


@pytest.fixture
def told() -> list[TrainEvent]:
    return []


@pytest.fixture
def journal(tmp_path: Path, told: list[TrainEvent], monkeypatch: pytest.MonkeyPatch) -> Journal:
    whole = generate.resolve  # the family of this test is not installed, so its options are named here
    monkeypatch.setattr(generate, "resolve", lambda model, request, schema=None: whole(model, request, Options))
    return Journal(tmp_path, 9, on_event=told.append)


def rows(journal: Journal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (journal.folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_prompts_are_one_labelled_sheet_a_step(journal: Journal, told: list[TrainEvent]) -> None:
    section = Generate(prompts=["one", "two"], options={"n": 3, "red": 200}, seed=5)
    for step in (3, 6):
        preview(Painter(), section, (), journal, step)
    assert [(row["step"], row["prompts"], row["file"]) for row in rows(journal)] == [
        (3, ["one", "two"], "samples/step-000003.png"),
        (6, ["one", "two"], "samples/step-000006.png"),
    ]
    path = journal.folder / "samples/step-000006.png"
    assert verify(path).good
    made = label.read(path)
    assert (made.family, made.seed, len(made.parents), made.notes["pictures"]) == ("painter", 5, 6, 6)
    colours = {tuple(int(value) for value in colour) for colour in decode(path.read_bytes()).reshape(-1, 4)}
    assert colours - {(255, 255, 255, 255)} == {(200, seed, index, 255) for seed in (5, 6) for index in range(3)}
    assert decode(path.read_bytes()).shape[1] > decode(path.read_bytes()).shape[0]  # a row for each prompt
    assert told[-1].kind == "sample"
    assert told[-1].values == {"prompt": "one, two", "text": str(path)}


def test_a_resumed_run_forgets_the_sheets_of_steps_it_will_do_again(journal: Journal) -> None:
    for step in (3, 6, 9):
        preview(Painter(), Generate(), (), journal, step)
    journal.begin(6)
    assert sorted(path.name for path in (journal.folder / "samples").iterdir()) == ["step-000003.png", "step-000006.png"]
    assert [row["step"] for row in rows(journal)] == [3, 6]


@pytest.mark.parametrize(
    ("model", "prompts", "wanted"),
    [
        (Painter(), [], [("", {"n": 2}, 4)]),
        (Painter(), ["x"], [("x", {"n": 2}, 4)]),
        (Prompted(), [], [("0", {"red": 0, "n": 2}, 4), ("2", {"red": 2, "n": 2}, 5)]),
        (Prompted(), ["x"], [("x", {"n": 2}, 4)]),
    ],
)
def test_without_prompts_the_records_ask(model: Painter, prompts: list[str], wanted: Sequence[tuple[str, dict[str, int], int]]) -> None:
    records = [Record(id=str(number), parts=("",), meta=NOTHING) for number in range(3)]
    found = requests(model, Generate(prompts=prompts, options={"n": 2}, seed=4), records)
    assert [(request.prompt, dict(request.options), request.seed) for request in found] == wanted


def test_tensorboard_gets_the_sheet(tmp_path: Path, journal: Journal) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Journal(tmp_path, 9, tensorboard=True)
    preview(Painter(), Generate(), (), board, 3)
    board._board.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Images("samples")] == [3]
    assert events.Images("samples")[0].encoded_image_string.startswith(b"\x89PNG")


def test_a_real_training_keeps_its_sheets(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from miaobi.core.families import family
    from miaobi.core.recipe import Recipe
    from miaobi.engine.train import train

    rng = np.random.default_rng(0)
    shapes = [np.dstack([rng.integers(0, 256, (8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)]) for _ in range(4)]
    records = [
        Record(id=str(number), parts=(Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels)),), meta=NOTHING)
        for number, pixels in enumerate(shapes)
    ]
    section = {"steps": 4, "batch": 2, "sample_every": 2, "evaluate_every": 4}
    recipe = Recipe.of(
        {
            "version": 1,
            "name": "small",
            "model": {"family": "vae", "config": dict(family("vae").tiny)},
            "train": section,
            "generate": {"options": {"n": 2}},
        }
    )
    train(recipe, {"train": records, "val": records[:2]}, tmp_path / "run")
    for step in (2, 4):
        assert verify(tmp_path / f"run/samples/step-{step:06d}.png").good


def test_a_family_that_looks_at_pictures_is_shown_those_of_records() -> None:
    media = Media(modality=Modality.IMAGE, mime="image/png", data=b"x", name="left")
    records = [Record(id="0", parts=("words", media), meta=NOTHING)]
    (found,) = requests(Painter(), Generate(), records, inputs={"image"})
    assert [part.name for part in found.turns[0].parts if isinstance(part, Media)] == ["image"]
    assert found.prompt == ""
    assert [request.turns[0].parts for request in requests(Painter(), Generate(prompts=["x"]), records, inputs={"image"})] == [("x",)]


class Codec(Prompted):
    """Draws nothing of its own."""

    def abstains(self) -> str:
        return "it has no prior"


def test_a_model_that_draws_nothing_of_its_own_is_shown_pictures_or_left_alone(journal: Journal) -> None:
    media = Media(modality=Modality.IMAGE, mime="image/png", data=encode(np.zeros((8, 8, 4), np.uint8)))
    records = [Record(id="0", parts=("words", media), meta=NOTHING)]
    (found,) = requests(Codec(), Generate(prompts=["x", "y"]), records, inputs={"image"})
    assert (found.prompt, len(found.turns[0].parts)) == ("", 2)
    assert requests(Codec(), Generate(prompts=["x"]), [], inputs={"image"}) == []
    preview(Codec(), Generate(prompts=["x"]), [], journal, 3)
    assert not (journal.folder / "samples.jsonl").exists()
