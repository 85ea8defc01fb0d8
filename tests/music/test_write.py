"""What a model without any knowledge writes under the grammar: in key, in range, full bars, home at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("symusic")

from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Content, Done, Media, Modality, Progress, Request
from miaobi.data.harmony import SCALES
from miaobi.data.instruments import INSTRUMENTS
from miaobi.data.scores import MIME, NAMES, Note, Part, Score, read_midi, write_midi
from miaobi.models.music import said
from miaobi.models.music.codec import MusicCodec
from miaobi.models.music.grammar import Rules, ScoreGrammar, ends_from
from miaobi.models.music.plan import planned
from miaobi.models.music.schema import Options
from miaobi.models.music.vocabulary import words
from miaobi.models.music.write import spans, write_music
from miaobi.trust.originality import LineFilter


class Noise:
    """A stepper that knows nothing: logits by chance."""

    def __init__(self, seed: int = 0) -> None:
        self.vocab_size = len(words())
        self.rng = np.random.default_rng(seed)
        self.longest = 0

    def start(self, prompts: Any) -> Any:
        self.length, self.rows = max(map(len, prompts)), len(prompts)
        return self._logits()

    def step(self, tokens: Any) -> Any:
        self.length += 1
        return self._logits()

    def reorder(self, rows: Any) -> None:
        self.rows = len(rows)

    def _logits(self) -> Any:
        self.longest = max(self.longest, self.length)
        return self.rng.standard_normal((self.rows, self.vocab_size)).astype(np.float32)


def written(prompt: str = "", *, given: Score | None = None, seed: int = 1, context: int = 1024, **options: Any) -> tuple[Score, Done]:
    """One piece by chance under the grammar."""
    parts = (prompt,) if given is None else (prompt, Media(modality=Modality.MUSIC, mime=MIME, data=write_midi(given), name="music"))
    chosen = Options.model_validate({"candidates": 1, **options}).model_dump()
    chunks = list(write_music(Noise(seed), MusicCodec(context=context), Request.of(parts, seed=seed, **chosen)))
    done = chunks[-1]
    assert isinstance(done, Done)
    piece = next(chunk.part for chunk in chunks if not isinstance(chunk, Done | Progress))
    assert isinstance(piece, Media)
    return read_midi(piece.data), done


@pytest.mark.parametrize("mode", ["major", "minor", "dorian", "gong", "shang", "jue", "zhi", "yu"])
@pytest.mark.parametrize("metre", ["4/4", "6/8", "3/4"])
def test_melodies_are_in_their_mode_and_range_and_fill_their_bars(mode: str, metre: str) -> None:
    score, done = written(key="E", mode=mode, metre=metre, bars=6, instruments=["flute"])
    melody = score.parts[0]
    allowed = {(4 + step) % 12 for step in SCALES[mode]} | ({(4 + 9) % 12, (4 + 11) % 12} if mode == "minor" else set())
    assert {note.pitch % 12 for note in melody.notes} <= allowed
    assert all(INSTRUMENTS["flute"].low <= note.pitch <= INSTRUMENTS["flute"].high for note in melody.notes)
    assert melody.notes[-1].pitch % 12 == 4, "it ends on the tonic"
    assert "{}/{}".format(*score.metre) == metre
    assert str(score.key) == f"E {mode}"
    assert done.notes["bars_full"] == done.notes["bars_told"]
    assert -(-(score.end - score.pickup) // score.bar) == 6
    assert all(a.end <= b.start for a, b in zip(melody.notes, melody.notes[1:]))


def test_four_parts_stay_in_their_ranges_and_do_not_cross() -> None:
    for seed in range(5):
        score, _ = written(parts=4, bars=4, key="D", mode="minor", seed=seed)
        assert len(score.parts) == 4
        sounding = [{tick: note.pitch for note in part.notes for tick in range(note.start, note.end, 3)} for part in score.parts]
        for tick in range(score.pickup, score.end, 3):
            column = [voice[tick] for voice in sounding if tick in voice]
            assert column == sorted(column, reverse=True), f"voices cross at {tick}"
        for part, (low, high) in zip(score.parts, ((60, 81), (55, 74), (48, 69), (38, 64))):
            assert all(low <= note.pitch <= high for note in part.notes)
        assert score.parts[3].notes[-1].pitch % 12 == 2, "the bass comes home"


def test_a_choir_sings_its_chords_on_the_beats_and_ends_on_the_tonic() -> None:
    tones = {"": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6), "7": (0, 4, 7, 10)}
    for seed in range(3):
        score, _ = written(parts=4, bars=3, key="C", mode="major", seed=seed, upbeat="none", metre="4/4")
        assert score.chords[-1][1] in ("C", "Cm") or score.parts[0].notes[-1].pitch % 12 not in (0, 3, 4, 7)
        for (start, name), stop in zip(score.chords, [*(tick for tick, _ in score.chords[1:]), score.end]):
            root = next(root for root in sorted(NAMES, key=len, reverse=True) if name.startswith(root))
            allowed = {(NAMES.index(root) + tone) % 12 for tone in tones[name.removeprefix(root)]}
            on_beat = {n.pitch % 12 for part in score.parts[1:] for n in part.notes if start <= n.start < stop and n.start % 24 == 0}
            assert on_beat <= allowed, f"{name} at {start}: {on_beat}"


def test_periods_say_their_beginning_again() -> None:
    def bars(score: Score) -> list[list[tuple[int, int, int]]]:
        melody = [(n.start - score.pickup, n.duration, n.pitch) for n in score.parts[0].notes]
        return [[(s - 96 * b, d, p) for s, d, p in melody if 96 * b <= s < 96 * (b + 1)] for b in range(16)]

    for upbeat in ("none", "beat"):
        found = bars(written(bars=16, metre="4/4", accompaniment="none", upbeat=upbeat, seed=4)[0])
        starts = [[(s, p) for s, _, p in bar] for bar in found]  # a length may go on into a bar that is another one
        assert starts[4] == starts[0]
        assert starts[12] == starts[8]
        assert starts[0] != starts[1] != starts[8]
        free = bars(written(bars=16, metre="4/4", accompaniment="none", upbeat=upbeat, seed=4, form="free")[0])
        assert free[4] != free[0]


def test_a_melody_is_harmonised_note_by_note(jig: Score, air: Score) -> None:
    for melody in (jig, air):
        score, done = written(given=melody, harmonise=True)
        assert [(n.start, n.duration, n.pitch) for n in score.parts[0].notes] == [
            (n.start, n.duration, n.pitch) for n in melody.parts[0].notes
        ]
        assert len(score.parts) == 4
        assert all(part.notes for part in score.parts)
        assert done.notes["bars_full"] == done.notes["bars_told"]


def test_a_beginning_is_kept_and_gone_on_from(jig: Score) -> None:
    score, _ = written(given=jig, bars=14)
    old = [(n.start, n.duration, n.pitch) for n in jig.parts[0].notes]
    assert [(n.start, n.duration, n.pitch) for n in score.parts[0].notes[: len(old)]] == old
    assert -(-(score.end - score.pickup) // score.bar) == 14
    assert str(score.key) == "G major"


def test_pieces_longer_than_the_context_are_written_in_stretches() -> None:
    stepper = Noise()
    options = Options.model_validate({"candidates": 2, "bars": 40, "metre": "4/4", "accompaniment": "none"}).model_dump()
    chunks = list(write_music(stepper, MusicCodec(context=160), Request.of("", **options)))
    piece = next(chunk.part for chunk in chunks if not isinstance(chunk, Done | Progress))
    assert isinstance(piece, Media)
    score = read_midi(piece.data)
    assert stepper.longest <= 160
    assert -(-(score.end - score.pickup) // score.bar) == 40
    assert sum(isinstance(chunk, Progress) for chunk in chunks) > 3


def test_copies_of_training_melodies_are_refused() -> None:
    score, _ = written(bars=6, seed=5)
    notes = score.parts[0].notes
    options = Options.model_validate({"bars": 6, "candidates": 1}).model_dump()
    known = LineFilter.build(spans(notes), rate=1e-4)
    chunks = list(write_music(Noise(5), MusicCodec(context=1024), Request.of("", seed=5, **options), known=known))
    assert isinstance(chunks[-1], Done)
    assert chunks[-1].notes["copied_spans"] > 0
    two = list(write_music(Noise(5), MusicCodec(context=1024), Request.of("", seed=5, **{**options, "candidates": 4}), known=known))
    assert isinstance(two[-1], Done)
    assert two[-1].notes["copied_spans"] == 0


def test_accompaniments_follow_the_chords_and_stay_in_the_mode() -> None:
    for style in ("arpeggio", "chords", "drone"):
        score, _ = written(key="D", mode="yu", bars=4, accompaniment=style, instruments=["erhu", "guzheng"])
        assert [part.name for part in score.parts] == ["erhu", "guzheng"]
        assert {(note.pitch - 2) % 12 for note in score.parts[1].notes} <= set(SCALES["yu"])
        assert max(note.end for note in score.parts[1].notes) <= score.end
    alone, _ = written(key="D", mode="yu", bars=4, accompaniment="none")
    assert len(alone.parts) == 1


def test_without_rules_chance_fills_no_bars() -> None:
    options = Options.model_validate({"bars": 4, "free": True, "max_tokens": 300, "candidates": 1}).model_dump()
    *_, done = write_music(Noise(), MusicCodec(context=1024), Request.of("", **options))
    assert isinstance(done, Done)
    assert done.notes["bars_full"] < max(1, done.notes["bars_told"])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("G大调里尔舞曲，小提琴", {"key": "G", "mode": "major", "kind": "reel", "instruments": ["violin"]}),
        ("羽调，慢，古筝和二胡", {"mode": "yu", "tempo": 66.0, "instruments": ["guzheng", "erhu"]}),
        (
            "a slow air in D minor, 3/4, for flute",
            {"key": "D", "mode": "minor", "kind": "air", "metre": "3/4", "tempo": 66.0, "instruments": ["flute"]},
        ),
        ("8 bars of a jig in Bb major", {"bars": 8, "kind": "jig", "key": "Bb", "mode": "major"}),
        ("a reel in G", {"kind": "reel", "key": "G"}),
        ("a march in Eb", {"kind": "march", "key": "Eb"}),
        ("an air in Autumn", {"kind": "air"}),
        ("中秋月夜", {}),
    ],
)
def test_prompts_are_read(prompt: str, expected: dict[str, Any]) -> None:
    assert said.heard(prompt) == expected


def test_moods_suggest_a_mode_and_options_win() -> None:
    def plan(prompt: str, **options: Any) -> Any:
        return planned(Request.of(prompt, **Options.model_validate(options).model_dump()))

    assert plan("中秋月夜").key.mode == "yu"
    assert plan("春江花月").key.mode in ("yu", "gong")
    assert plan("a rainy harbour at night").key.mode == "minor"
    assert plan("中秋月夜", mode="gong", key="F").key.mode == "gong"
    assert plan("中秋月夜", mode="gong", key="F").key.tonic == 5
    assert plan("一首歌").key.mode == "gong", "Chinese words and no mood: the first of the five"
    assert plan("").key.mode == "major"


def test_what_contradicts_itself_is_told(jig: Score) -> None:
    with pytest.raises(UsageError, match="harmonise needs"):
        written(harmonise=True)
    with pytest.raises(UsageError, match="8 bars already"):
        written(given=jig, bars=8)
    drums = Score(parts=(Part(notes=(Note(0, 12, 36),), drums=True),))
    with pytest.raises(DataError, match="drums"):
        written(given=drums)
    with pytest.raises(ValueError, match="no instrument"):
        Options.model_validate({"instruments": ["kazoo"]})
    with pytest.raises(ValueError, match="known are"):
        Options.model_validate({"kind": "dubstep"})


def test_every_place_leads_to_the_end_of_the_bar() -> None:
    """No choice of the grammar leads to a place that nothing fills."""
    for length in (48, 72, 96, 108, 144):
        reached, open_ones = {0}, [0]
        while open_ones:
            for tick in ends_from(open_ones.pop(), length):
                if tick not in reached:
                    reached.add(tick)
                    open_ones.append(tick)
        assert all(ends_from(tick, length) for tick in reached if tick < length)


def test_a_state_is_the_same_whether_its_tokens_were_told_or_written() -> None:
    rules = Rules(mode="major", metre=(4, 4), bars=3, ranges=((60, 84),), upbeat=0)
    grammar, rng = ScoreGrammar(rules), np.random.default_rng(3)
    state, tokens = grammar.start(), []
    for _ in range(25):
        token = int(rng.choice(np.flatnonzero(grammar.allowed(state))))
        state = grammar.advance(state, token)
        tokens.append(token)
        assert ScoreGrammar(rules, told=tokens).start() == state


def test_contents_are_labelled_with_what_was_decided(records: list[Any]) -> None:
    pytest.importorskip("torch")
    from miaobi.engine.generate import collect
    from miaobi.models.music.model import Music

    model = Music.create({"width": 32, "layers": 1, "heads": 2, "context": 256}, records)
    contents: list[Content] = collect(model, Request.of("中秋月夜", seed=2, bars=4, n=2, candidates=2))
    assert [content.label.index for content in contents] == [0, 1]
    assert contents[0].label.notes["key"].endswith("yu")
    assert contents[0].label.notes["instruments"] == ["erhu", "guzheng"]
    assert contents[0].parts != contents[1].parts
