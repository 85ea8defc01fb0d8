"""Voices: few directions hold a whole table, mixes are weighted means, and wrong names and weights are refused with what is known."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.home import builtin
from miaobi.models.kokoro.voices import DEFAULT, FILE, LENGTHS, RANK, STYLE, Voices, packed

NARRATOR = builtin() / "narrator"


@pytest.fixture(scope="module")
def voices() -> Voices:
    return Voices.load(NARRATOR)


def test_a_table_of_low_rank_comes_back() -> None:
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(LENGTHS, RANK)) @ rng.normal(size=(RANK, STYLE)) + rng.normal(size=STYLE)).astype(np.float32)
    back = Voices(packed("zf_test", table))
    rows = np.stack([back.style({"zf_test": 1.0}, length) for length in (1, 77, 510)])
    assert np.allclose(rows, table[[0, 76, 509]], atol=1e-4)
    assert np.array_equal(back.style({"zf_test": 1.0}, 9999), back.style({"zf_test": 1.0}, 510)), (
        "longer texts have the style of the longest"
    )


def test_all_mandarin_and_english_voices_ship_in_two_megabytes(voices: Voices) -> None:
    assert sum(name.startswith("z") for name in voices.names) == 8
    assert sum(name[0] in "ab" for name in voices.names) == 28
    assert set(DEFAULT.values()) <= set(voices.names)
    assert (NARRATOR / FILE).stat().st_size < 2_000_000


def test_a_mix_is_the_weighted_mean(voices: Voices) -> None:
    mix = voices.mix("zf_xiaobei:3, zm_yunxi:1", "zh")
    assert mix == {"zf_xiaobei": 0.75, "zm_yunxi": 0.25}
    one, other = (voices.style({name: 1.0}, 40) for name in mix)
    assert np.allclose(voices.style(mix, 40), 0.75 * one + 0.25 * other, atol=1e-6)
    assert voices.mix("zf_xiaobei,zm_yunxi", "zh") == {"zf_xiaobei": 0.5, "zm_yunxi": 0.5}


def test_without_a_voice_the_language_chooses(voices: Voices) -> None:
    assert voices.mix("", "zh") == {DEFAULT["zh"]: 1.0}
    assert voices.mix("", "en") == {DEFAULT["en"]: 1.0}


def test_an_unknown_voice_names_the_nearest_and_all(voices: Voices) -> None:
    with pytest.raises(UsageError, match=r"unknown voice 'zf_xiaobai'. Did you mean 'zf_xiaobei'\? Known: .*zm_yunyang"):
        voices.mix("zf_xiaobai", "zh")


@pytest.mark.parametrize("weight", ["0", "-1", "much", "nan", "inf"])
def test_a_weight_that_is_none_is_refused(voices: Voices, weight: str) -> None:
    with pytest.raises(UsageError, match="is no positive number"):
        voices.mix(f"zf_xiaobei:{weight}", "zh")


def test_a_damaged_file_is_named(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / FILE).write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Voices.load(folder)
