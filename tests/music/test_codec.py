"""The vocabulary tells a piece and gets it back, whatever the key; batches weigh what stands behind the header."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("symusic")

from miaobi.core.errors import DataError
from miaobi.core.types import Record
from miaobi.data.harmony import SCALES, estimated_key, folded, recognised
from miaobi.data.scores import Key, Note, Part, Score
from miaobi.models.music.codec import END, MusicCodec, num_header, parse
from miaobi.models.music.layout import score_of, sheet_of
from miaobi.models.music.vocabulary import ids, words

CODEC = MusicCodec(context=512)


def told(score: Score) -> Score:
    """A score through tokens and back."""
    sheet = sheet_of(score)
    tokens = CODEC.tokens(sheet)
    bars = tuple(parse(tokens[num_header(tokens) :], sheet))
    assert score.key is not None
    return score_of(
        replace(sheet, bars=bars),
        key=score.key,
        tempo=90,
        programs=[part.program for part in score.parts],
        names=[part.name for part in score.parts],
    )


def test_every_note_comes_back(jig: Score, air: Score, choir: Score) -> None:
    for score in (jig, air, choir):
        back = told(score)
        assert [[(n.start, n.duration, n.pitch) for n in part.notes] for part in back.parts] == [
            [(n.start, n.duration, n.pitch) for n in part.notes] for part in score.parts
        ]
        assert back.pickup == score.pickup


def test_tokens_are_the_same_in_every_key(jig: Score) -> None:
    assert CODEC.tokens(sheet_of(jig)) == CODEC.tokens(sheet_of(jig.transposed(5))) == CODEC.tokens(sheet_of(jig.transposed(-12)))


def test_words_are_distinct_and_bars_count_down(jig: Score) -> None:
    assert len(ids()) == len(words())
    tokens = [words()[token] for token in CODEC.tokens(sheet_of(jig))]
    assert tokens[:6] == ["<begin>", "kind jig", "mode major", "metre 6/8", "tempo 4", "instrument violin"]
    assert [word for word in tokens if word.startswith("bar ")] == [f"bar {left}" for left in (0, 8, 7, 6, 5, 4, 3, 2, 1)]
    assert tokens[6:10] == ["bar 0", "from 60", "pitch 55", "until 72"], "D below the tonic, the tune's mean near the middle"


def test_a_choir_tells_the_melody_of_a_bar_before_its_harmony(choir: Score) -> None:
    tokens = [words()[token] for token in CODEC.tokens(sheet_of(choir))]
    first = tokens[tokens.index("bar 2") : tokens.index("bar 1")]
    chords = [place for place, word in enumerate(first) if word.startswith("chord")]
    assert first[1:5] == ["pitch 72", "until 48", "pitch 72", "until 96"]
    assert first[chords[0]] == "chord 0:"
    assert first[chords[-1] + 1 : chords[-1] + 4] == ["part 2", "pitch 67", "until 48"]


def test_what_the_vocabulary_has_no_word_for_is_told(jig: Score) -> None:
    with pytest.raises(DataError, match="5/4"):
        sheet_of(replace(jig, metres=((0, (5, 4)),)))
    with pytest.raises(DataError, match="grid"):
        sheet_of(Score(parts=(Part(notes=(Note(0, 5, 60), Note(5, 91, 60))),)))
    with pytest.raises(DataError, match="parts"):
        sheet_of(replace(jig, parts=jig.parts * 5))


def test_batches_weigh_the_bars_alone(records: list[Record]) -> None:
    torch = pytest.importorskip("torch")
    batch = CODEC.collate(records)
    for row, record in enumerate(records):
        document = CODEC.document(record)
        header = num_header(document)
        assert batch["tokens"][row, : len(document)].tolist() == document
        assert batch["weights"][row].nonzero().ravel().tolist() == list(range(header - 1, len(document) - 1))
    assert batch["weights"].dtype == torch.bool


def test_training_leaves_things_open_and_folds_but_never_spoils_the_form(records: list[Record]) -> None:
    codec = MusicCodec(context=512, fold=1.0)
    kinds, modes = set(), set()
    for seed in range(20):
        document = codec.document(records[0], rng=np.random.default_rng(seed))
        kinds.add(words()[document[1]])
        modes.add(words()[document[2]])
        assert document[-1] == END
    assert kinds == {"kind any", "kind jig"}
    assert modes <= {"mode gong", "mode zhi"}, "a tune in major folds into a mode with a major third, or without one"


def test_a_long_piece_gives_stretches_of_whole_bars(records: list[Record]) -> None:
    codec = MusicCodec(context=60)
    for seed in range(8):
        document = codec.document(records[0], rng=np.random.default_rng(seed))
        assert len(document) <= 61
        assert words()[document[num_header(document)]].startswith("bar ")
    assert len({tuple(codec.document(records[0], rng=np.random.default_rng(seed))) for seed in range(8)}) > 1


def test_keys_and_chords_are_heard(jig: Score, air: Score, choir: Score) -> None:
    assert [str(estimated_key(score)) for score in (jig, air, choir)] == ["G major", "A minor", "C major"]
    assert [name for _, name in recognised(choir, Key(tonic=0))] == ["C", "F", "G", "C"]
    pentatonic = Score(
        parts=(Part(notes=tuple(Note(24 * place, 24, pitch) for place, pitch in enumerate((69, 72, 74, 76, 79, 76, 72, 69)))),)
    )
    assert str(estimated_key(pentatonic)) == "A yu"


@pytest.mark.parametrize("mode", ["gong", "shang", "jue", "zhi", "yu"])
def test_folding_leaves_five_tones_and_the_rhythm(jig: Score, mode: str) -> None:
    new = folded(jig, mode)
    assert new.key == Key(tonic=7, mode=mode)
    assert {(note.pitch - 7) % 12 for note in new.parts[0].notes} <= set(SCALES[mode])
    pairs = list(zip(new.parts[0].notes, jig.parts[0].notes, strict=True))
    assert all((a.start, a.duration) == (b.start, b.duration) and abs(a.pitch - b.pitch) <= 2 for a, b in pairs)
