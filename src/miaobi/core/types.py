"""The nouns of the house: frozen, slotted, keyword-only values that every layer passes on. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

Options = Mapping[str, Any]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Modality(StrEnum):
    """What a part of a content is."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    MUSIC = "music"
    VIDEO = "video"


class Verb(StrEnum):
    """What can be done with a family. Each verb but `generate` has a protocol that the model then follows."""

    FIT = "fit"
    TRAIN = "train"
    ADAPT = "adapt"
    GENERATE = "generate"
    SCORE = "score"
    EXPORT = "export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Encoded bytes of an image, a sound, a score or a film. `mime` says how they are encoded."""

    modality: Modality
    mime: str
    data: bytes = field(repr=False)
    name: str = ""


Part = str | Media


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One example of a corpus. `meta` holds source, licence, sha256, split and whatever the reader found."""

    id: str
    parts: tuple[Part, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All text parts, joined by line breaks."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a conversation. A tool's is what a function gave that the assistant had asked for."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asks of a model. The same request on the same artifact and device gives the same content.

    `options["n"]` asks for several contents; they share the request and differ in `Label.index`.
    """

    turns: tuple[Turn, ...]
    options: Options = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def of(cls, prompt: str | Part | tuple[Part, ...] = "", /, *, seed: int = 0, **options: Any) -> Request:
        """A request of one user turn: `Request.of("a red fox", steps=20)`."""
        parts = prompt if isinstance(prompt, tuple) else (prompt,)
        return cls(turns=(Turn(role="user", parts=parts),), options=MappingProxyType(dict(options)), seed=seed)

    @property
    def prompt(self) -> str:
        """The text of the last user turn."""
        for turn in reversed(self.turns):
            if turn.role == "user":
                return "\n".join(part for part in turn.parts if isinstance(part, str))
        return ""

    @property
    def sha256(self) -> str:
        """SHA-256 over turns, options and seed as canonical JSON; media count by name and bytes."""
        turns = [[turn.role, [_part_key(part) for part in turn.parts]] for turn in self.turns]
        return hashlib.sha256(canonical_json([turns, dict(self.options), self.seed])).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a generation cost: tokens (or steps) in and out."""

    prompt: int = 0
    generated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """A token of a text: what it spells, and the natural logarithm of its probability by the model itself.

    `bytes` may be part of a character, `token` is then a replacement. `top` are the likeliest in its place, the likeliest first.
    """

    token: str
    bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part, or the next stretch of a text part, of content number `index`; `logprobs` are its tokens', where they were asked for."""

    part: Part
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a long generation is; `preview` may show its state."""

    step: int
    total: int
    preview: Part | None = None
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Content number `index` is complete. `reason`: stop, length, rejected. `notes` go into the label (a share resampled, say)."""

    reason: str = "stop"
    usage: Usage = Usage()
    index: int = 0
    notes: Options = field(default_factory=dict)


Chunk = Piece | Progress | Done


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Who a model is. `source` (the artifact's SHA-256 or a hub revision) and `runtime` (what computes it: onnx, torch) fill the label."""

    family: str
    name: str
    outputs: frozenset[Modality]
    verbs: frozenset[Verb]
    source: str = ""
    runtime: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What makes a content accountable and replayable. The schema is `miaobi.label/1`; `trust.label` writes and reads it.

    `options` are complete (defaults filled in), so a later change of a default does not break a replay. `notes` are the model's own
    words about this content, from `Done.notes`. `content_sha256` of a picture is over its pixels as the model made them (and `mark` and
    `watermark` say what was then put in); `encoded_sha256` is over those of this very file, where a lossy format changed them. `parents`
    are the pictures that were given, `name:sha256` of their bytes.
    """

    ai_generated: bool = True
    family: str
    model: str
    source: str
    seed: int
    index: int = 0
    request_sha256: str
    prompt: str = ""
    options: Options = field(default_factory=dict)
    created: str
    software: str
    runtime: str = ""
    content_sha256: str = ""
    encoded_sha256: str = ""
    mark: str = ""
    watermark: str = ""
    safety: str = ""
    notes: Options = field(default_factory=dict)
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A generated piece and its label. Only `engine.generate` builds one."""

    parts: tuple[Part, ...]
    label: Label

    @property
    def text(self) -> str:
        """All text parts, joined by line breaks."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, no spaces and UTF-8 letters: equal values give equal bytes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


def _part_key(part: Part) -> object:
    return part if isinstance(part, str) else [part.mime, hashlib.sha256(part.data).hexdigest(), part.name]
