"""The one door through which content leaves: options validated, words checked, pieces gathered, media marked, and the label put on.

`Content` and `Label` are built here and nowhere else (tests/house checks the source), so nothing can leave unlabelled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import miaobi
from miaobi.core import families
from miaobi.core.errors import DataError, UsageError
from miaobi.core.language import tr
from miaobi.core.types import NOTHING, Chunk, Content, Done, Label, Media, Modality, Options, Part, Piece, Request, canonical_json
from miaobi.engine import eyes as watchers
from miaobi.trust import label as labels
from miaobi.trust import safety
from miaobi.trust.marking import Marking
from miaobi.trust.replay import APP

if TYPE_CHECKING:
    from miaobi.core.protocols import Model
    from miaobi.core.schema import Schema

MAX_CONTENTS = 1024
MAX_SEED = 2**63 - 1
UNMARKED = Marking()
_DATED: ContextVar[str] = ContextVar("dated", default="")


def run(
    model: Model,
    request: Request,
    *,
    schema: type[Schema] | None = None,
    words: safety.WordList | None = None,
    created: str = "",
    marking: Marking = UNMARKED,
) -> Iterator[Chunk | Content]:
    """Stream chunks as the model makes them; after each `Done` comes its `Content`, labelled. Closing the iterator cancels.

    An output with a blocked word, or a picture that shows what is blocked, ends in `Done(reason="rejected")` and gives no content.
    Pictures, sounds and films carry their label in their bytes.

    Args:
        schema: the options' type; by default that of the model's family.
        words: the word list of requests and outputs; by default `safety.load()`, and then pictures are looked at as `eyes.load()` says.
        created: the time in the labels (a replay gives the original's); by default now.
        marking: what is put into pictures, sounds and films; by default nothing.

    Raises:
        UsageError: at once, before anything is generated: an unknown or wrong option, a seed out of range, text that is not Unicode.
        Refused: the request has a blocked word (at once), or every content had one (at the end of the stream).
    """
    eyes = watchers.load() if words is None and Modality.IMAGE in model.card.outputs else None
    if words is None:
        words = safety.load()
    request, batched = resolve(model, request, schema)
    category = words.blocked(_request_text(request))
    if category:
        raise safety.Refused("the request was refused: it has words of the category '{category}'", category=category)
    return _Run(model=model, request=request, batched=batched, words=words, eyes=eyes, created=created, marking=marking).stream()


def collect(
    model: Model,
    request: Request,
    *,
    schema: type[Schema] | None = None,
    words: safety.WordList | None = None,
    created: str = "",
    marking: Marking = UNMARKED,
) -> list[Content]:
    """All contents of `run`, in the order of their index; those that were held back are missing."""
    chunks = run(model, request, schema=schema, words=words, created=created, marking=marking)
    return sorted((chunk for chunk in chunks if isinstance(chunk, Content)), key=lambda content: content.label.index)


def resolve(model: Model, request: Request, schema: type[Schema] | None = None) -> tuple[Request, bool]:
    """The request with every option validated and its defaults filled in, and whether the model makes all `n` contents in one batch.

    A family whose options lack `n` gets it from here: `run` then asks the model `n` times, with seeds `seed + index`.
    """
    from miaobi.core.schema import validate

    options_type = schema or families.family(model.card.family).schemas()[1]
    batched = "n" in options_type.model_fields
    if not batched:
        options_type = _with_n(options_type)
    if isinstance(request.seed, bool) or not isinstance(request.seed, int) or not 0 <= request.seed <= MAX_SEED:
        raise UsageError("the seed is {seed!r}: a whole number from 0 to {largest} is expected", seed=request.seed, largest=MAX_SEED)
    options = validate(options_type, request.options, tr("options of {model}", model=model.card.name)).model_dump(mode="json")
    request = dataclasses.replace(request, options=MappingProxyType(options))
    try:
        _request_text(request).encode()
    except UnicodeEncodeError as error:
        raise UsageError("the request holds half a character (a lone surrogate) at position {position}", position=error.start) from None
    return request, batched


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One request on its way through the door."""

    model: Model
    request: Request
    batched: bool
    words: safety.WordList
    eyes: watchers.Eyes | None
    created: str
    marking: Marking
    seen: dict[int, list[safety.Hit | None]] = dataclasses.field(default_factory=dict)  # by content: what each of its pictures shows
    marks: dict[int, tuple[str, str]] = dataclasses.field(default_factory=dict)  # by content: the visible mark and the watermark put in

    def stream(self) -> Iterator[Chunk | Content]:
        """Everything that the model makes. When all of it was held back, that is an error and not an empty answer."""
        rejected, made = "", False
        for chunk in self._asked():
            made |= isinstance(chunk, Content)
            if isinstance(chunk, Done) and chunk.reason == "rejected":
                rejected = str(chunk.notes.get("category", ""))
            yield chunk
        if rejected and not made:
            raise safety.Refused("the output was held back: it is of the category '{category}'. Try another seed", category=rejected)

    def _asked(self) -> Iterator[Chunk | Content]:
        """Ask the model once, or once for each content."""
        if self.batched:
            yield from self._gather(self.request, 0)
            return
        single = MappingProxyType({key: value for key, value in self.request.options.items() if key != "n"})
        for index in range(self.request.options["n"]):
            yield from self._gather(dataclasses.replace(self.request, options=single, seed=self.request.seed + index), index)

    def _gather(self, asked: Request, offset: int) -> Iterator[Chunk | Content]:
        """The chunks of one call of the model, indices moved by `offset`, a content after each `Done`; its iterator is always closed."""
        parts: dict[int, list[Part]] = {}
        stopped: set[int] = set()  # contents in which something blocked has come up: nothing more of them leaves
        chunks = self.model.generate(asked)
        try:
            for chunk in chunks:
                index = chunk.index + offset
                chunk = dataclasses.replace(chunk, index=index)
                if isinstance(chunk, Done):
                    yield from self._finish(chunk, tuple(parts.pop(index, [""])))
                    continue
                if isinstance(chunk, Piece):
                    if self._shows_blocked(chunk):
                        stopped.add(index)
                    chunk = self._marked(chunk)
                    _append(parts.setdefault(index, []), chunk.part)
                    if self.words.blocked(_tail(parts[index], chunk.part, self.words.longest)):
                        stopped.add(index)
                if index not in stopped:
                    yield chunk
            assert not parts, f"{self.model.card.family} ended without Done for the contents {sorted(parts)}"
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _shows_blocked(self, piece: Piece) -> bool:
        """Look at a picture, where somebody looks."""
        if self.eyes is None or isinstance(piece.part, str) or piece.part.modality is not Modality.IMAGE:
            return False
        hit = self.eyes.look(piece.part)
        self.seen.setdefault(piece.index, []).append(hit)
        return hit is not None and hit.severity == "block"

    def _marked(self, piece: Piece) -> Piece:
        """A picture, sound or film with its marks; any other piece as it is."""
        if not self.marking or isinstance(piece.part, str):
            return piece
        from miaobi.engine import marks
        from miaobi.trust.watermark import payload_of

        payload = payload_of(self.model.card.source, self.request.sha256, piece.index)
        part, mark, watermark = marks.apply(self.marking, piece.part, payload)
        if mark or watermark:
            self.marks[piece.index] = (mark, watermark)
        return dataclasses.replace(piece, part=part)

    def _finish(self, done: Done, parts: tuple[Part, ...]) -> Iterator[Chunk | Content]:
        """`Done` and the labelled content, or only `Done(reason="rejected")` when a blocked word is in it or its picture shows one."""
        text, seen = "\n".join(part for part in parts if isinstance(part, str)), self.seen.pop(done.index, [])
        shown = (hit.category for hit in seen if hit is not None and hit.severity == "block")
        category = self.words.blocked(text) or next(shown, "")
        if category:
            yield dataclasses.replace(done, reason="rejected", notes=MappingProxyType({"category": category}))
            return
        yield done
        card = self.model.card
        mark, watermark = self.marks.pop(done.index, ("", ""))
        verdicts = [self.words.verdict(text)] if any(isinstance(part, str) for part in parts) else []
        verdicts += [self.eyes.verdict(seen)] if self.eyes is not None and seen else []
        label = Label(
            family=card.family,
            model=card.name,
            source=card.source,
            seed=self.request.seed,
            index=done.index,
            request_sha256=self.request.sha256,
            prompt=self.request.prompt,
            options=self.request.options,
            created=self.created or _now(),
            software=f"miaobi {miaobi.__version__}",
            runtime=card.runtime,
            content_sha256=labels.content_sha256(parts),
            mark=mark,
            watermark=watermark,
            safety=" ".join(filter(None, verdicts)),
            notes=_plain(done.notes),
            parents=_parents(self.request),
        )
        yield Content(parts=tuple(labels.embed(part, label) if labels.is_labelled_medium(part) else part for part in parts), label=label)


def assembled(
    parts: tuple[Part, ...],
    made: Sequence[Content],
    *,
    app: str,
    request: Request,
    created: str = "",
    mark: str = "",
    notes: Options = NOTHING,
    words: safety.WordList | None = None,
) -> Content:
    """What an app put together from other contents (a film of pictures, voice and music), with a label that names them all.

    `request` is what the person asked the app for; `parents` of the label are `model:hash` of the contents. It is made again by the app and
    not by a model, so the label has no `source`.

    Raises:
        Refused: a text among the parts has a blocked word.
    """
    text = "\n".join(part for part in parts if isinstance(part, str))
    sha256, parents = labels.content_sha256(parts), [content.label for content in made]
    label = _assembled(text, sha256, parents, app=app, request=request, created=created, mark=mark, notes=notes, words=words)
    return Content(parts=tuple(labels.embed(part, label) if labels.is_labelled_medium(part) else part for part in parts), label=label)


def assembled_file(
    path: Path,
    made: Sequence[Label],
    *,
    mime: str,
    app: str,
    request: Request,
    created: str = "",
    mark: str = "",
    notes: Options = NOTHING,
    words: safety.WordList | None = None,
) -> Label:
    """The label of what an app put together in a file, however long, from contents with the labels `made`; `trust.label.write_stored` puts
    it in. See `assembled`.
    """
    from miaobi.trust import media
    from miaobi.trust.stored import Stored

    sha256 = media.sha256(Stored.at(path), mime)
    return _assembled("", sha256, made, app=app, request=request, created=created, mark=mark, notes=notes, words=words)


def _assembled(
    text: str,
    sha256: str,
    made: Sequence[Label],
    *,
    app: str,
    request: Request,
    created: str,
    mark: str,
    notes: Options,
    words: safety.WordList | None,
) -> Label:
    """The label of what an app put together, with that text and hash."""
    words = words or safety.load()
    if category := words.blocked("\n".join([_request_text(request), text])):
        raise safety.Refused("the request was refused: it has words of the category '{category}'", category=category)
    return Label(
        family=APP,
        model=app,
        source="",
        seed=request.seed,
        request_sha256=request.sha256,
        prompt=request.prompt,
        options=_plain(request.options),
        created=created or _now(),
        software=f"miaobi {miaobi.__version__}",
        content_sha256=sha256,
        mark=mark,
        safety=words.verdict(text) if text else "",
        notes=_plain(notes),
        parents=(*_parents(request), *(f"{label.model}:{label.content_sha256}" for label in made)),
    )


@contextlib.contextmanager
def dated(created: str) -> Iterator[None]:
    """Let labels tell this time for the length of the block where nothing else is said: a job that goes on after a crash makes the same
    bytes as one that was never broken off."""
    token = _DATED.set(created)
    try:
        yield
    finally:
        _DATED.reset(token)


def _now() -> str:
    return _DATED.get() or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def restored(parts: tuple[Part, ...], label: Label) -> Content:
    """A content that was kept somewhere, with the label that it left with.

    Raises:
        DataError: the label is of other parts.
    """
    if labels.content_sha256(parts) != label.content_sha256:
        raise DataError("the content is not the one that its label was made for")
    return Content(parts=parts, label=label)


def _parents(request: Request) -> tuple[str, ...]:
    """The pictures (or other media) that were given, as `name:sha256` of their bytes."""
    given = [part for turn in request.turns for part in turn.parts if isinstance(part, Media)]
    return tuple(f"{part.name or part.modality}:{hashlib.sha256(part.data).hexdigest()}" for part in given)


def _with_n(schema: type[Schema]) -> type[Schema]:
    """The options with a count of contents beside them."""
    from pydantic import Field, create_model

    return create_model(schema.__name__, __base__=schema, n=(int, Field(1, ge=1, le=MAX_CONTENTS, strict=True)))


def _tail(parts: list[Part], new: Part, longest: int) -> str:
    """The end of the text in which a listed word may just have been completed; separators may stretch a word, so it is generous."""
    if not isinstance(new, str) or not isinstance(parts[-1], str):
        return ""
    return parts[-1][-(len(new) + 4 * longest) :]


def _append(parts: list[Part], part: Part) -> None:
    """A stretch of text continues the text before it; a medium stands alone."""
    if isinstance(part, str) and parts and isinstance(parts[-1], str):
        parts[-1] += part
    else:
        parts.append(part)


def _plain(notes: Options) -> Options:
    """The notes as JSON gives them back, so that a label read from a file equals the label that was written."""
    return MappingProxyType(json.loads(canonical_json(notes)))


def _request_text(request: Request) -> str:
    """Everything that the person wrote: all turns, and the texts among the options (a title, a first line)."""
    texts = [part for turn in request.turns for part in turn.parts if isinstance(part, str)]
    return "\n".join([*texts, *_strings(request.options)])


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | MappingProxyType):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
