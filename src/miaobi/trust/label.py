"""The label of a content as plain values, and as part of a file: written at once, read back and compared after every write.

A file carries two labels: the implicit one of GB 45438-2025 (`trust.aigc`) and ours, which also holds prompt, options and seed, so that
the content can be made again. A text carries words that a reader sees, too. There is exactly one of each: a write replaces, never appends.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from miaobi.core import language as messages
from miaobi.core.artifact import explain_os_errors, read_bytes, sync_folder, write_bytes, write_text
from miaobi.core.artifact import read_text as read_plain
from miaobi.core.errors import ArtifactError, DataError, MiaobiError, UsageError
from miaobi.core.types import Content, Label, Media, Modality, Part, canonical_json
from miaobi.trust import aigc, containers, stored
from miaobi.trust.formats import FORMATS, VISIBLE, Format, Marked, decode_sidecar, decode_text, encode_sidecar, encode_text
from miaobi.trust.stored import Stored

if TYPE_CHECKING:
    from miaobi.trust.media import MarkedMedia
    from miaobi.trust.pictures import MarkedPicture

SCHEMA = "miaobi.label/1"
SUBTITLES: Mapping[str, Format] = dict.fromkeys((".srt", ".vtt"), Format(encode_text, decode_text, sidecar=True))
MAX_BYTES = stored.SMALL  # of a text or picture that is read; sounds and films are never held
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_TYPES: Mapping[str, type | tuple[type, ...]] = {"ai_generated": bool, "seed": int, "index": int, "options": Mapping, "notes": Mapping}


def visible(language: str = "") -> str:
    """The words that tell a reader: "本内容由人工智能生成" or "AI-generated", by default in the language of messages."""
    return VISIBLE[language or messages.language()]


def visible_language(text: str) -> str:
    """The language of the visible words: those who read Chinese read them in Chinese, whatever the locale of the machine."""
    return "zh" if _HAN.search(text) else messages.language()


def content_sha256(parts: Sequence[Part]) -> str:
    """SHA-256 of the only part's bytes (UTF-8 for text), as `sha256sum` gives; of several parts, over the list of their hashes.

    A picture counts by its pixels (see `trust.pictures`), a sound or a film by what is heard and seen (see `trust.media`), so that its
    label may lie in its bytes.
    """
    hashes = [_part_sha256(part) for part in parts]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(canonical_json(hashes)).hexdigest()


def _part_sha256(part: Part) -> str:
    if isinstance(part, str):
        return hashlib.sha256(part.encode()).hexdigest()
    if part.mime in containers.SUFFIXES.values():
        from miaobi.trust import pictures

        return pictures.sha256(part.data)
    from miaobi.trust import media

    return media.sha256(part.data, part.mime) if media.is_medium(part.mime) else hashlib.sha256(part.data).hexdigest()


def is_picture(part: Part) -> TypeGuard[Media]:
    """Whether the part is a picture of pixels, which can carry its label itself."""
    return isinstance(part, Media) and part.modality is Modality.IMAGE and part.mime in containers.SUFFIXES.values()


def is_labelled_medium(part: Part) -> TypeGuard[Media]:
    """Whether the part is of a kind that carries its label itself, or beside it when it is written to a file."""
    from miaobi.trust import media

    return isinstance(part, Media) and (part.mime in containers.SUFFIXES.values() or media.is_medium(part.mime))


def to_dict(label: Label) -> dict[str, Any]:
    """The label as plain values for JSON or YAML. Empty fields stay out where they may; `schema` comes first."""
    values: dict[str, Any] = {"schema": SCHEMA}
    for field in dataclasses.fields(label):
        value = getattr(label, field.name)
        if _required(field) or value or isinstance(value, int):
            values[field.name] = dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
    return values


def from_dict(values: Mapping[str, Any]) -> Label:
    """The label that `to_dict` wrote.

    Raises:
        ArtifactError: another schema, a missing or unknown key, or a value of another type.
    """
    schema = values.get("schema")
    if schema != SCHEMA:
        raise ArtifactError("the label has the schema '{schema}'; this miaobi reads {known}. Update miaobi", schema=schema, known=SCHEMA)
    fields = {field.name: field for field in dataclasses.fields(Label)}
    given = {key: value for key, value in values.items() if key != "schema"}
    required = {name for name, field in fields.items() if _required(field)}
    wrong = sorted((given.keys() - fields.keys()) | (required - given.keys()))
    for key in given.keys() & fields.keys():
        kind = _TYPES.get(key, list if key == "parents" else str)
        if not isinstance(given[key], kind) or (kind is int and isinstance(given[key], bool)):
            wrong.append(key)
    if wrong:
        raise ArtifactError("the label is damaged: {keys} missing, unknown or of a wrong type", keys=", ".join(wrong))
    for key in given.keys() & {"options", "notes"}:
        given[key] = MappingProxyType(dict(given[key]))
    return Label(**given | {"parents": tuple(given.get("parents", ()))})


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def implicit(label: Label) -> dict[str, str]:
    """The seven keys of GB 45438-2025 for a content that this installation produced."""
    return aigc.implicit(aigc.produce_id(label.content_sha256, label.request_sha256, label.index), by=aigc.producer())


def embed(part: Media, label: Label) -> Media:
    """The picture, sound or film with its labels in its bytes, signed where a certificate is here; what is seen or heard is not touched."""
    from miaobi.trust import media, pictures, signature

    if part.mime in containers.SUFFIXES.values():
        data = pictures.embed(part.data, implicit(label), to_dict(label))
    else:
        data = media.embed(part.data, part.mime, implicit(label), to_dict(label))
    return dataclasses.replace(part, data=signature.signed(data, part.mime, label))


def write(content: Content, path: Path, *, language: str = "", part: Media | None = None) -> None:
    """Write a content with its labels, in the manner of the suffix: a text as .md, .txt (with a sidecar), .json or .html, with the visible
    words; a picture as .png, .jpg, .webp, .gif or .tiff; a sound, film or score in its own format.

    `language` is that of the visible words; by default Chinese for a text with Chinese characters, else that of messages. `part` is what
    goes into the file where it was converted for it (see `engine.convert`).

    Raises:
        UsageError: another suffix, or one that does not go with the content.
        MiaobiError: the disk is full, no permission, or the file read back is not what was written.
        MissingExtra: labels in this format need a package that is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        _write_medium(content, path, part or _fitting(content, path))
        return
    format = _format(path)
    if not all(isinstance(part, str) for part in content.parts):
        raise UsageError("{path}: {suffix} files hold text, and this content has other parts", path=path, suffix=path.suffix)
    assert content.label.content_sha256 == content_sha256(content.parts), "the label belongs to another content"
    words = visible(language or visible_language(content.text))
    marked = Marked(text=content.text, implicit=implicit(content.label), label=to_dict(content.label), visible=words)
    if format.sidecar:  # first, so that a crash never leaves a text without its label
        write_text(sidecar(path), encode_sidecar(marked))
    write_text(path, format.encode(marked))
    if read_text(path) != marked:
        raise MiaobiError(
            "{path}: the file read back is not what was written (characters that {suffix} cannot hold?). Choose .txt",
            path=path,
            suffix=path.suffix,
        )


def write_subtitles(text: str, label: Label, path: Path) -> None:
    """Subtitles that were made of the content with this label, which lies beside them: their formats have no place for one."""
    label = _label_of(label, content_sha256((text,)))
    marked = Marked(text=text, implicit=implicit(label), label=to_dict(label))
    write_text(sidecar(path), encode_sidecar(marked))  # first, so that a crash never leaves subtitles without their label
    write_text(path, text)


def _fitting(content: Content, path: Path) -> Media:
    """The part of a content that goes into a file of that suffix; a picture in the format of the file."""
    from miaobi.trust import media, pictures

    suffix = path.suffix.lower()
    if suffix in containers.SUFFIXES:
        mime = containers.SUFFIXES[suffix]
        found = [part for part in content.parts if isinstance(part, Media) and part.mime in containers.SUFFIXES.values()]
        if len(found) == 1:
            return dataclasses.replace(found[0], mime=mime, data=pictures.recode(found[0].data, mime))
        raise UsageError("{path}: {suffix} files hold one picture, and this content has other parts", path=path, suffix=path.suffix)
    if suffix not in media.SUFFIXES:
        _format(path)
    found = [part for part in content.parts if isinstance(part, Media) and part.mime == media.SUFFIXES.get(suffix)]
    if not found:
        kinds = ", ".join(sorted({part.mime if isinstance(part, Media) else "text" for part in content.parts}))
        raise UsageError("{path}: this content is {kinds}, which does not go into a {suffix} file", path=path, kinds=kinds, suffix=suffix)
    return found[0]


def encoded(content: Content, suffix: str, *, part: Media | None = None) -> Media:
    """What `write` puts into a file of that suffix: a picture, sound, film or score with its labels in its bytes (those of MIDI have no
    place there). The arguments and errors are those of `write`.
    """
    part = part or _fitting(content, Path(f"content{suffix}"))
    return embed(part, _label_of(content.label, content_sha256((part,))))


def _label_of(label: Label, sha256: str) -> Label:
    """The label of a part with that hash. Where it is not, bit for bit, what the model made, the label holds the hash of both."""
    return dataclasses.replace(label, encoded_sha256=sha256 if sha256 != label.content_sha256 else "")


def _write_medium(content: Content, path: Path, part: Media) -> None:
    """Write one part of a content."""
    from miaobi.trust.media import MIDI, beside

    sha256 = content_sha256((part,))
    label = _label_of(content.label, sha256)
    data = embed(part, label).data
    if part.mime == MIDI:  # first, so that a crash never leaves a score without its label
        write_text(sidecar(path), beside(implicit(label), to_dict(label)))
    write_bytes(path, data)
    _check(path, path, sha256, label)


def write_stored(made: Path, path: Path, label: Label, mime: str) -> None:
    """`write` for a sound or film that lies in a file already, of any size: its labelled copy at `path`, which appears when it is whole.

    Raises:
        MiaobiError: the disk is full, no permission, or the file read back is not what was written.
        MissingExtra: labels in this format need a package that is not installed.
    """
    from miaobi.trust import media, signature

    temporary = [path.with_name(f".{path.name}.{os.getpid()}.{step}.tmp") for step in ("label", "signed")]
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary[0].open("w+b") as file:
                media.embed_to(file, Stored.at(made), mime, implicit(label), to_dict(label))
            if signature.signs_kind(mime):
                with temporary[0].open("rb") as source, temporary[1].open("w+b") as file:
                    signature.sign(source, file, mime, label)
                temporary[1].replace(temporary[0])
            _check(temporary[0], path, label.encoded_sha256 or label.content_sha256, label)
            with temporary[0].open("rb") as file:
                os.fsync(file.fileno())
            temporary[0].replace(path)
        finally:
            for each in temporary:
                each.unlink(missing_ok=True)
        sync_folder(path.parent)


def _check(written: Path, path: Path, sha256: str, label: Label) -> None:
    """Read a medium again; `path` is what it is called."""
    back = read_marked(written)
    if isinstance(back, Marked) or (back.sha256, back.implicit, back.label) != (sha256, implicit(label), to_dict(label)):
        raise MiaobiError("{path}: the file read back is not what was written. Choose another format", path=path)


def read(path: Path) -> Label:
    """The label of a file.

    Raises:
        UsageError: no such file, an unknown suffix, or a file without a label of ours.
        DataError: a picture that is damaged or too large.
        ArtifactError: the label is damaged or of a newer schema.
    """
    marked = read_marked(path)
    if not marked.label:
        raise UsageError("{path} has no label of miaobi. `miaobi verify {path}` tells what is known about it", path=path)
    return from_dict(marked.label)


def read_marked(path: Path) -> Marked | MarkedPicture | MarkedMedia:
    """The content and the labels of a file as they are, nothing judged. Text is known by its suffix, all else by its first bytes."""
    if path.suffix.lower() in (*FORMATS, *SUBTITLES):
        return read_text(path)
    from miaobi.trust import media, pictures

    data = Stored.at(path)
    mime, picture = media.mime_of(data), containers.mime_of(data[: media.HEAD])
    if not (mime or picture) and path.suffix.lower() not in (*containers.SUFFIXES, *media.SUFFIXES):
        _format(path)
    try:
        if mime or (path.suffix.lower() in media.SUFFIXES and not picture):
            beside = read_bytes(sidecar(path), limit=MAX_BYTES) if sidecar(path).is_file() else b""
            return media.read(data, mime or media.SUFFIXES[path.suffix.lower()], sidecar=beside)
        return pictures.read(read_bytes(path, limit=MAX_BYTES))
    except DataError as error:
        raise DataError("{path}: {problem}", path=path, problem=error) from None


def read_text(path: Path) -> Marked:
    """The text, both labels and the visible words of a text file."""
    format = SUBTITLES.get(path.suffix.lower()) or _format(path)
    marked = format.decode(read_plain(path, limit=MAX_BYTES))
    if format.sidecar and sidecar(path).is_file():
        return decode_sidecar(read_plain(sidecar(path), limit=MAX_BYTES), marked)
    return marked


def sidecar(path: Path) -> Path:
    """Where the labels of a format without a place for them lie: `poem.txt.aigc.json`."""
    return path.with_name(path.name + ".aigc.json")


def _format(path: Path) -> Format:
    from miaobi.trust.media import SUFFIXES

    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise UsageError(
            "{path}: labels lie in files that end in {known}, not in '{suffix}'",
            path=path,
            known=", ".join([*FORMATS, *containers.SUFFIXES, *(suffix for suffix in SUFFIXES if suffix not in containers.SUFFIXES)]),
            suffix=path.suffix,
        )
    return found
