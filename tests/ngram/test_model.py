"""The family: one pass over records, scores, generation through the common sampling, and what is on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.types import Record, Request
from miaobi.engine.generate import collect
from miaobi.models.ngram.model import NGram


def fitted(poems: list[Record], **config: object) -> NGram:
    model = NGram.create({"order": 3, **config}, poems)
    model.fit(poems)
    return model


@pytest.fixture
def tokenizer(tmp_path: Path, poems: list[Record]) -> Path:
    """A small byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([record.text for record in poems], trainer)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def test_one_pass_is_enough(poems: list[Record]) -> None:
    """A generator can be read once only; figures are those of the corpus."""

    def once() -> Iterator[Record]:
        yield from poems

    model = NGram.create({"order": 2}, [])
    figures = model.fit(once())
    letters = [letter for record in poems for letter in record.text]
    assert figures["tokens"] == len(letters) + len(poems)
    assert figures["vocabulary"] == len(set(letters)) + 1
    assert figures["grams_2"] < figures["tokens"]


def test_learning_lowers_the_score(poems: list[Record]) -> None:
    """What was learned costs less than under a shorter memory; the records' sizes are those of their text."""
    bits = {order: sum(score.bits for score in fitted(poems, order=order).score(poems)) for order in (1, 2, 3)}
    assert bits[1] > bits[2] > bits[3]
    score = next(iter(fitted(poems).score(poems)))
    assert (score.id, score.tokens, score.characters, score.bytes) == ("静夜思", 26, 25, 73)


def test_scores_do_not_depend_on_the_batch(poems: list[Record]) -> None:
    model = fitted(poems)
    together = [score.bits for score in model.score(poems)]
    assert together == pytest.approx([next(iter(model.score([record]))).bits for record in poems], rel=1e-12)


def test_an_unknown_character_costs_its_choice_among_all_characters(poems: list[Record]) -> None:
    """So that the probabilities of all texts add up to one, and a model cannot win by knowing few characters."""
    model = fitted(poems)
    assert model.vocabulary is not None
    known, strange = (next(iter(model.score([Record(id="x", parts=(text,))]))).bits for text in ("月", "€"))
    assert strange - known > math.log2(0x110000) - 1
    one = model.score_tokens([[model.vocabulary.size - 1, model.vocabulary.size + 1]])[0]
    assert strange == pytest.approx(one + math.log2(model.vocabulary.num_unknown))


def test_a_template_takes_the_meta_in(poems: list[Record]) -> None:
    model = fitted(poems, template="{title}|{text}{missing}")
    assert model.text(poems[0]) == "静夜思|" + poems[0].text
    assert collect(model, Request.of("静夜思", temperature=0.0))[0].text.startswith("|床前明月")
    for template in ("no field", "{0}", "{", "{text.parts}"):
        with pytest.raises(UsageError, match="template"):
            NGram.create({"template": template}, [])


def test_it_continues_a_prompt_and_is_labelled(poems: list[Record]) -> None:
    model = fitted(poems)
    contents = collect(model, Request.of("床前明", n=4, temperature=0.7, seed=11))
    assert len({content.text for content in contents}) > 1
    assert all(content.text.startswith("月") for content in contents)
    assert contents[0].label.ai_generated
    assert contents[0].label.family == "ngram"
    assert [content.text for content in collect(model, Request.of("床前明", n=4, temperature=0.7, seed=11))] == [
        content.text for content in contents
    ]
    greedy = collect(model, Request.of("", temperature=0.0, stop=["\n"], max_tokens=40))[0].text
    assert greedy
    assert "\n" not in greedy


def test_beam_search_finds_a_likelier_text_than_greedy(poems: list[Record]) -> None:
    model = fitted(poems)

    def bits(content: str) -> float:
        return next(iter(model.score([Record(id="x", parts=(content,))]))).bits

    greedy = collect(model, Request.of("", temperature=0.0, max_tokens=60))[0].text
    beams = collect(model, Request.of("", temperature=0.0, max_tokens=60, beams=8, length_penalty=0.0, early_stopping="never"))[0].text
    assert bits(beams) <= bits(greedy)


def test_a_prompt_with_unknown_characters_is_refused(poems: list[Record]) -> None:
    with pytest.raises(UsageError, match="never saw: €x"):
        collect(fitted(poems), Request.of("床€前x€"))


def test_no_counts_and_no_records_are_explained(poems: list[Record], tmp_path: Path) -> None:
    empty = NGram.create({}, poems)
    with pytest.raises(UsageError, match="fit it first"):
        list(empty.score(poems))
    with pytest.raises(UsageError, match="fit it first"):
        empty.save(tmp_path)
    with pytest.raises(DataError, match="no records"):
        empty.fit([])


@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_saved_and_loaded_it_is_the_same(poems: list[Record], tmp_path: Path, tokenizer: Path, with_tokenizer: bool) -> None:
    model = NGram.create({"order": 4}, poems, tokenizer=tokenizer if with_tokenizer else None)
    model.fit(poems)
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    loaded = NGram.load(folder)
    assert loaded.config == model.config
    assert list(loaded.score(poems)) == list(model.score(poems))
    request = Request.of("床前", n=3, seed=5, temperature=0.8)
    assert [content.text for content in collect(loaded, request)] == [content.text for content in collect(model, request)]
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "config.json"} | ({"tokenizer.json"} if with_tokenizer else set())
    assert json.loads((folder / "config.json").read_text())["model_type"] == "ngram"
    again = tmp_path / "again"
    again.mkdir()
    loaded.save(again)
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_counts_are_stored_narrowly(poems: list[Record], tmp_path: Path) -> None:
    fitted(poems, order=5).save(tmp_path)
    letters = sum(len(record.text) for record in poems)
    assert (tmp_path / "model.safetensors").stat().st_size < 4 * 5 * letters + 4000


def test_damaged_files_are_named(poems: list[Record], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        NGram.load(tmp_path)
    fitted(poems).save(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    config = (tmp_path / "config.json").read_text()
    for broken in (weights[: len(weights) // 2], b"", b"\x00" * 40):
        (tmp_path / "model.safetensors").write_bytes(broken)
        with pytest.raises(ArtifactError, match="cannot be read"):
            NGram.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    for wrong in (config.replace("3", "4"), config.replace("3", "true"), "[]", "{"):
        (tmp_path / "config.json").write_text(wrong)
        with pytest.raises(ArtifactError, match="cannot be read"):
            NGram.load(tmp_path)


def test_a_file_that_is_no_tokenizer_is_refused(poems: list[Record], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"hello": 1}')
    with pytest.raises(ArtifactError, match=r"not a tokenizer\.json"):
        NGram.create({}, poems, tokenizer=path)


def test_another_models_tokens_are_scored_as_they_are() -> None:
    """`fit_tokens` and `score_tokens` compare an n-gram with a neural model on exactly the same tokens."""
    random = np.random.default_rng(0)
    sequences = [random.integers(0, 12, size=20).tolist() for _ in range(100)]
    model = NGram.create({"order": 3}, [])
    assert model.fit_tokens(sequences, vocab_size=12)["tokens"] == 21 * 100
    whole = model.score_tokens(sequences[:3])
    first = model.score_tokens(sequences[:3], mask=[[place < 8 for place in range(20)]] * 3)
    rest = model.score_tokens(sequences[:3], mask=[[place >= 8 for place in range(20)]] * 3)
    assert whole == pytest.approx([a + b for a, b in zip(first, rest, strict=True)])
    assert sum(whole) / 60 < math.log2(14)


@pytest.mark.slow
def test_a_million_characters_are_counted_quickly_and_in_little_memory() -> None:
    """Near two seconds here; the bound leaves room for a busy machine. Memory: the peak that numpy asks for."""
    import time
    import tracemalloc

    random = np.random.default_rng(0)
    letters = [chr(0x4E00 + number) for number in range(5000)]
    records = [Record(id=str(i), parts=("".join(letters[k % 5000] for k in random.zipf(1.3, size=100)),)) for i in range(10_000)]
    model = NGram.create({"order": 5}, records)
    tracemalloc.start()
    started = time.process_time()
    model.fit(records)
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 30
    assert peak < 150 * 1_010_000
