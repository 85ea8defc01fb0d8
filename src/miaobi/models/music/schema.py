"""What a music model is made of (`Config`) and what a person may ask of a piece (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Decoding

_KEYS = Literal["", "C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B"]


class Config(Schema):
    """The Transformer's shape, and how training varies the scores."""

    width: int = Field(128, ge=8, le=4096)
    """Length of the vectors that a token is; a multiple of `heads`."""
    layers: int = Field(5, ge=1, le=64)
    """How many blocks of attention and feed-forward."""
    heads: int = Field(4, ge=1, le=64)
    """How many attentions a block has side by side."""
    key_heads: int = Field(0, ge=0, le=64)
    """0 is as many as `heads`."""
    hidden: int = Field(0, ge=0, le=16384)
    """0 is 8/3 of the width, rounded up to 32."""
    context: int = Field(1024, ge=128, le=16384)
    """The most events that it sees at once."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the activations that training switches off."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability that training spreads over all tokens."""
    fold: float = Field(0.15, ge=0, le=1)
    """The share of melodies that training moves into a pentatonic mode, tone by tone."""
    stored: Literal["fp32", "fp16"] = "fp32"
    """The number format of the weights on disk."""


class Options(Decoding):
    """What a person may ask of a piece. What is left open is read from the prompt's words, else chosen by the seed."""

    key: _KEYS = ""
    """The tonic, such as C, F# or Bb; where it suits the instrument when empty."""
    mode: Literal["", "major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "gong", "shang", "jue", "zhi", "yu"] = ""
    """Major, minor, a church mode, or one of the five Chinese modes (宫 gong, 商 shang, 角 jue, 徵 zhi, 羽 yu)."""
    metre: Literal["", "2/2", "4/4", "2/4", "3/4", "6/8", "9/8", "3/8", "12/8", "6/4", "3/2"] = ""
    """Beats of a bar and their value."""
    kind: str = Field("", json_schema_extra={"choices": "miaobi.models.music.schema:kind_names"})
    """What it is: reel, jig, hornpipe, march, waltz, air, chorale …"""
    tempo: float = Field(0.0, ge=0, le=400)
    """Quarter notes a minute; 0 is what is usual for its kind."""
    bars: int = Field(16, ge=1, le=256)
    """How many full bars, a given phrase included."""
    instruments: list[str] = Field(
        default_factory=list, max_length=4, json_schema_extra={"choices": "miaobi.models.music.schema:instrument_names"}
    )
    """Who plays, a name a part: `[erhu]`, `[flute, harp]`; the last one plays the accompaniment, if there is one."""
    parts: Literal[0, 1, 4] = 0
    """1 is a melody, 4 is a choir; 0 is by its kind."""
    harmonise: bool = False
    """The music that is given is a melody to be set for four parts; else it is a beginning to go on from."""
    accompaniment: Literal["", "none", "chords", "arpeggio", "drone"] = ""
    """What plays under a melody, by rule from the chords that it suggests; by its kind when empty."""
    upbeat: Literal["auto", "none", "beat"] = "auto"
    """Whether it begins before the first full bar."""
    form: Literal["auto", "periods", "free"] = "auto"
    """Periods: of every eight bars the fifth and sixth are the first and second again, as in most tunes; a melody's usual form."""
    accidentals: Literal["none", "free"] = "none"
    """Tones outside of the mode (minor has the raised sixth and seventh as well)."""
    free: bool = False
    """No rule at all: the model alone decides on bars and tones. It shows what the model has learned."""
    candidates: int = Field(3, ge=1, le=16)
    """So many pieces are written for each that is returned; the best by likelihood, variety and originality is kept."""
    title: str = Field("", max_length=120)
    """The prompt, when not given."""
    temperature: float = Field(0.9, ge=0, le=10)
    """0 is greedy; higher is more varied."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Only the likeliest tokens that together have this probability (Holtzman et al. 2020)."""
    max_tokens: int = Field(16384, ge=1, le=65_536)
    """Longest generation, in events."""

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        if value and value not in kind_names():
            raise ValueError(tr("known are: {known}", known=", ".join(kind_names())))
        return value

    @field_validator("instruments")
    @classmethod
    def _known_instruments(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in instrument_names():
                raise ValueError(tr("'{name}' is no instrument; known are: {known}", name=name, known=", ".join(instrument_names())))
        return value


def kind_names() -> tuple[str, ...]:
    """Every kind of piece that can be asked for."""
    from miaobi.models.music.vocabulary import KINDS

    return KINDS


def instrument_names() -> tuple[str, ...]:
    """Every instrument that can be asked for."""
    from miaobi.data.instruments import INSTRUMENTS

    return tuple(INSTRUMENTS)
