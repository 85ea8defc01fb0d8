"""The door: options validated before anything runs, contents grouped and labelled, words checked, cancelling passed on, replay exact."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.schema import Schema
from miaobi.core.types import Card, Chunk, Content, Done, Media, Modality, Piece, Progress, Request, Turn, Verb
from miaobi.engine.generate import MAX_SEED, collect, resolve, run
from miaobi.engine.replay import replay
from miaobi.trust import label
from miaobi.trust.formats import Marked
from miaobi.trust.safety import Hit, Refused, compile_words

WORDS = compile_words([Hit(category="house", severity="block", word="绿豆"), Hit(category="mild", severity="flag", word="红豆")])


class SoloOptions(Schema):
    """Options of a family that makes one content a call."""

    length: int = Field(5, ge=1, le=100)
    letters: str = "天地玄黄宇宙洪荒"


class BatchOptions(SoloOptions):
    """Options of a family that makes its contents together."""

    n: int = Field(1, ge=1, le=8)


class Dice:
    """Draws letters by the seed: a whole, tiny family that really depends on seed, options and weights (`card.source`)."""

    schema: type[Schema] = SoloOptions

    def __init__(self, source: str = "5" * 64) -> None:
        self.card = Card(
            family="dice", name="dice", outputs=frozenset({Modality.TEXT}), verbs=frozenset({Verb.GENERATE}), source=source, runtime="bones"
        )
        self.asked: list[Request] = []
        self.open = 0

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        self.asked.append(request)
        self.open += 1
        try:
            yield from self._pieces(request)
        finally:
            self.open -= 1

    def _pieces(self, request: Request) -> Iterator[Chunk]:
        draw = random.Random(f"{request.seed}/{self.card.source}")
        for step in range(request.options["length"]):
            yield Progress(step=step, total=request.options["length"])
            yield Piece(part=draw.choice(request.options["letters"]))
        yield Done(reason="length", notes={"draws": (request.options["length"],)})


class DiceBatch(Dice):
    """The same with n rows side by side, the last row finishing first."""

    schema: type[Schema] = BatchOptions

    def _pieces(self, request: Request) -> Iterator[Chunk]:
        rows = range(request.options["n"])
        draws = [random.Random(request.seed + row) for row in rows]
        for _ in range(request.options["length"]):
            for row in rows:
                yield Piece(part=draws[row].choice(request.options["letters"]), index=row)
        for row in reversed(rows):
            yield Done(index=row)


def make(model: Dice, prompt: str = "", *, seed: int = 0, **options: object) -> list[Content]:
    return collect(model, Request.of(prompt, seed=seed, **options), schema=model.schema, words=WORDS)


def test_the_label_tells_everything() -> None:
    (content,) = make(Dice(), "宇宙", seed=3, length=4)
    made = content.label
    assert (made.family, made.model, made.source, made.seed, made.index, made.prompt) == ("dice", "dice", "5" * 64, 3, 0, "宇宙")
    assert dict(made.options) == {"length": 4, "letters": "天地玄黄宇宙洪荒", "n": 1}  # defaults filled in
    assert dict(made.notes) == {"draws": [4]}
    assert made.content_sha256 == label.content_sha256((content.text,))
    assert made.software.startswith("miaobi ")
    assert made.runtime == "bones"
    assert made.created.endswith("Z")
    assert made.safety.startswith("passed words:")
    assert made.ai_generated
    assert len(content.text) == 4


def test_chunks_stream_and_each_done_is_followed_by_its_content() -> None:
    chunks = list(run(Dice(), Request.of(length=2, n=2), schema=SoloOptions, words=WORDS))
    assert [type(chunk).__name__ for chunk in chunks] == ["Progress", "Piece", "Progress", "Piece", "Done", "Content"] * 2
    assert [chunk.index for chunk in chunks if isinstance(chunk, Done | Piece)] == [0, 0, 0, 1, 1, 1]


def test_a_family_without_n_is_asked_n_times_with_seeds_in_a_row() -> None:
    model = Dice()
    contents = make(model, seed=7, n=3)
    assert [request.seed for request in model.asked] == [7, 8, 9]
    assert all("n" not in request.options for request in model.asked)
    assert [content.text for content in contents] == [make(Dice(), seed=seed)[0].text for seed in (7, 8, 9)]
    assert [(content.label.seed, content.label.index) for content in contents] == [(7, 0), (7, 1), (7, 2)]


def test_a_family_with_n_is_asked_once_and_contents_come_in_order() -> None:
    model = DiceBatch()
    contents = make(model, seed=7, n=3, length=6)
    assert len(model.asked) == 1
    assert [content.label.index for content in contents] == [0, 1, 2]
    assert len({content.text for content in contents}) == 3
    assert all(len(content.text) == 6 for content in contents)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lenght": 3}, "Did you mean 'length'?"),
        ({"length": 10**9}, "at most 100"),
        ({"length": float("nan")}, "length"),
        ({"length": True}, "length"),
        ({"n": 10**9}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"letters": None}, "letters"),
    ],
)
def test_wrong_options_are_refused_before_the_model_is_asked(options: dict[str, object], words: str) -> None:
    model = Dice()
    with pytest.raises(UsageError, match="options of dice") as caught:
        run(model, Request.of(**options), schema=model.schema, words=WORDS)  # not iterated: the check comes at once
    assert words in str(caught.value)
    assert model.asked == []


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, True, 1.5])
def test_wrong_seeds_are_refused(seed: int) -> None:
    with pytest.raises(UsageError, match="seed"):
        make(Dice(), seed=seed)


def test_half_a_character_is_refused() -> None:
    for request in (Request.of("\ud800"), Request.of(letters="\udfff")):
        with pytest.raises(UsageError, match="surrogate"):
            run(Dice(), request, schema=SoloOptions, words=WORDS)


def test_resolving_twice_changes_nothing() -> None:
    once, _ = resolve(Dice(), Request.of("x", n=2), SoloOptions)
    assert resolve(Dice(), once, SoloOptions)[0].sha256 == once.sha256


def test_closing_the_stream_closes_the_model() -> None:
    model = Dice()
    stream = run(model, Request.of(length=100, n=5), schema=SoloOptions, words=WORDS)
    for _ in range(3):
        next(stream)
    assert model.open == 1
    stream.close()  # type: ignore[attr-defined]
    assert (model.open, len(model.asked)) == (0, 1)


def test_a_reader_that_fails_closes_the_model() -> None:
    model = Dice()

    def read() -> None:
        for _ in run(model, Request.of(length=100), schema=SoloOptions, words=WORDS):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    assert model.open == 0


def test_a_blocked_word_in_the_request_refuses_it() -> None:
    for request in (Request.of("买绿豆"), Request.of(letters="绿 豆"), Request(turns=(Turn(role="system", parts=("绿豆",)),))):
        model = Dice()
        with pytest.raises(Refused, match="house") as caught:
            run(model, request, schema=SoloOptions, words=WORDS)
        assert caught.value.category == "house"
        assert model.asked == []


def test_a_blocked_word_in_an_output_holds_that_content_back() -> None:
    class Beans(DiceBatch):
        def _pieces(self, request: Request) -> Iterator[Chunk]:
            for row, text in enumerate(["红豆生南国", "绿豆"]):
                for letter in text:
                    yield Piece(part=letter, index=row)
                yield Done(index=row)

    chunks = list(run(Beans(), Request.of(n=2), schema=BatchOptions, words=WORDS))
    assert "".join(str(chunk.part) for chunk in chunks if isinstance(chunk, Piece)) == "红豆生南国绿"  # the completing piece stays in
    assert [(chunk.index, chunk.reason) for chunk in chunks if isinstance(chunk, Done)] == [(0, "stop"), (1, "rejected")]
    (content,) = make(Beans(), n=2)
    assert content.label.safety.startswith("flagged:mild")


def test_when_nothing_is_left_that_is_an_error() -> None:
    model = Dice()
    model._pieces = lambda request: iter([Piece(part="绿"), Piece(part="豆"), Done()])  # type: ignore[method-assign]
    with pytest.raises(Refused, match="held back"):
        make(model)


def test_media_stand_alone_between_stretches_of_text() -> None:
    picture = Media(modality=Modality.MUSIC, mime="audio/midi", data=b"MThd")
    model = Dice()
    pieces = [Piece(part="a"), Piece(part="b"), Piece(part=picture), Piece(part="c"), Done(), Done(index=1)]
    model._pieces = lambda request: iter(pieces)  # type: ignore[method-assign]
    contents = make(model)
    assert contents[0].parts == ("ab", picture, "c")
    assert contents[1].parts == ("",)
    assert contents[0].label.content_sha256 == label.content_sha256(("ab", picture, "c")) != label.content_sha256(("ab", "c"))


@pytest.mark.parametrize("kind", [Dice, DiceBatch])
@pytest.mark.parametrize("suffix", [".md", ".txt", ".json", ".html"])
def test_a_replay_writes_the_same_bytes(tmp_path: Path, kind: type[Dice], suffix: str) -> None:
    content = make(kind(), "宇宙", seed=5, n=3, length=8)[2]
    path = tmp_path / f"a{suffix}"
    label.write(content, path)
    marked, read = label.read_marked(path), label.read(path)
    again = replay(read, lambda name: kind(), original=marked, schema=kind.schema, words=WORDS)
    assert again.identical
    assert again.difference == ""
    label.write(again.content, tmp_path / f"b{suffix}")
    assert (tmp_path / f"b{suffix}").read_bytes() == path.read_bytes()


def test_a_replay_on_other_weights_is_refused_with_both_names() -> None:
    (content,) = make(Dice("a" * 64))
    with pytest.raises(ArtifactError, match=f"{'a' * 64}.*{'b' * 64}"):
        replay(content.label, lambda name: Dice("b" * 64), schema=SoloOptions, words=WORDS)


def test_a_replay_tells_what_differs() -> None:
    class Worn(Dice):
        def _pieces(self, request: Request) -> Iterator[Chunk]:
            yield Piece(part="天天")
            yield Done(notes={"draws": [5], "runtime": "other"})

    (content,) = make(Dice(), letters="天")
    again = replay(content.label, lambda name: Worn(), original=Marked(text=content.text), schema=SoloOptions, words=WORDS)
    assert not again.identical
    assert "from character 3 on, '天天天' became ''" in again.difference
    assert "runtime" in again.difference
    unseen = replay(content.label, lambda name: Worn(), schema=SoloOptions, words=WORDS)
    assert content.label.content_sha256[:16] in unseen.difference


def test_a_label_that_holds_only_a_part_of_the_request_is_not_replayed() -> None:
    request = Request(turns=(Turn(role="system", parts=("be brief",)), Turn(role="user", parts=("hi",))))
    (content,) = collect(Dice(), request, schema=SoloOptions, words=WORDS)
    with pytest.raises(UsageError, match="only a part of the request"):
        replay(content.label, lambda name: Dice(), schema=SoloOptions, words=WORDS)
