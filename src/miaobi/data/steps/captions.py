"""The step `captions`: names of emoji and icons in several languages, from tables in packages, put into templates; and `emoji`.

Emoji are named by the Unicode CLDR (npm `cldr-annotations-full`, `-derived-full`), icons by a list of names, titles and tags (`icons.json`
of npm `@icon-park/svg`). The English name is the field `concept`, by which a split keeps all pictures of one thing together.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from miaobi.core.errors import DataError, UsageError
from miaobi.core.schema import Schema
from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import Places, Step, register

MOST_KEYWORDS = 3
_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
_NUMBERED = re.compile(r"-[1-9]$")
_CODES = re.compile(r"[0-9a-f]{2,6}(?:-[0-9a-f]{2,6})*", re.IGNORECASE)


class Table(Schema):
    """Packages that name pictures, and the icon sets whose pictures they name."""

    packages: list[str] = Field(min_length=1)
    """CLDR annotations, or an `icons.json` of names, titles and tags: `npm:cldr-annotations-full@48.2.0`, or a folder."""
    sets: str = "*"
    """A pattern of the field `set` (else `style`) of the records that are looked up here: `icon-park*`."""


class Captions(Schema):
    """Describe pictures by their emoji or name: `caption` gets the filled-in templates of each language, `concept` the English name."""

    tables: list[Table] = Field(min_length=1)
    """Where names are looked up; the first table that knows the picture counts."""
    templates: dict[str, list[str]] = Field(default_factory=lambda: {"zh": ["{name}"], "en": ["{name}"]})
    """By language; `{name}`, `{keywords}` (up to three), `{keyword}` (a caption each) and `{a}` (a or an) are filled in."""
    unmatched: Literal["drop", "keep"] = "drop"
    """What happens to a picture that no table names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing: its name and its keywords by language."""

    concept: str
    characters: str  # an emoji, or nothing
    names: Mapping[str, str]
    keywords: Mapping[str, Sequence[str]]


def build_captions(options: Captions, places: Places) -> Step:
    """Look a record up by its `emoji`, by a name that is code points (`1f431`), or by its name's letters."""
    for language, templates in options.templates.items():
        for template in templates:
            _check(template, language)
    languages = tuple(options.templates)
    tables = [(table.sets, load([places[path] for path in table.packages], languages)) for table in options.tables]

    def step(record: Record) -> Record | Dropped:
        collection = str(record.meta.get("set", record.meta.get("style", "")))
        found = next(
            (entry for sets, table in tables if fnmatch.fnmatchcase(collection, sets) and (entry := find(table, record.meta))), None
        )
        if found is None:
            return record if options.unmatched == "keep" else Dropped("no_caption", str(record.meta.get("name", "")))
        caption = {language: filled(found, language, templates) for language, templates in options.templates.items()}
        caption = {language: texts for language, texts in caption.items() if texts}
        emoji = {"emoji": found.characters} if found.characters else {}
        return dataclasses.replace(record, meta={**record.meta, **emoji, "concept": found.concept, "caption": caption})

    return step


def _check(template: str, language: str) -> None:
    try:
        template.format(name="", keywords="", keyword="", a="")
    except (KeyError, IndexError, ValueError):
        raise UsageError(
            "step captions: the {language} template '{template}' has an unknown field. Known: name, keywords, keyword, a",
            language=language,
            template=template,
        ) from None


def filled(entry: Entry, language: str, templates: Sequence[str]) -> list[str]:
    """The captions of one language, each once; templates with keywords give none for a thing without."""
    name = entry.names.get(language)
    if not name:
        return []
    keywords = entry.keywords.get(language, ())
    several = ("、" if language == "zh" else ", ").join(keywords[:MOST_KEYWORDS])
    article = "an" if name[:1].lower() in "aeiou" else "a"
    captions: dict[str, None] = {}
    for template in templates:
        if "{keywords}" in template and not several:
            continue
        for keyword in keywords if "{keyword}" in template else ("",):
            captions[template.format(name=name, keywords=several, keyword=keyword, a=article)] = None
    return list(captions)


def find(table: Mapping[str, Entry], meta: Mapping[str, Any]) -> Entry | None:
    """The entry of a picture."""
    name, characters = str(meta.get("name", "")), characters_of(meta)
    known = (table.get(bare(characters)) if characters else None) or table.get(letters(name))
    return known or table.get(letters(_NUMBERED.sub("", name)))  # `cactus-1`: a second drawing of the same


def characters_of(meta: Mapping[str, Any]) -> str:
    """The emoji of a picture: its field, or its name when that is code points with dashes between; else nothing."""
    name = str(meta.get("name", ""))
    if meta.get("emoji") or not _CODES.fullmatch(name):
        return str(meta.get("emoji", ""))
    codes = [int(code, 16) for code in name.split("-")]
    return "".join(map(chr, codes)) if max(codes) < 0x110000 else ""


def bare(characters: str) -> str:
    """An emoji without the marks that only say how it is to be shown."""
    return characters.replace("\ufe0f", "")


def letters(name: str) -> str:
    """A name without spaces, case and punctuation, marked as a name: emoji such as digits are themselves."""
    return "name " + re.sub(r"[\W_]+", "", name).casefold()


def load(folders: Sequence[Path], languages: Sequence[str]) -> Mapping[str, Entry]:
    """The tables in some folders as one, by emoji and by letters of the English name.

    Raises:
        DataError: a folder without names, or with damaged ones.
    """
    table: dict[str, Entry] = {}
    annotations: dict[str, dict[str, Any]] = {}
    for folder in folders:
        try:
            if (folder / "icons.json").is_file():
                table |= _icons(json.loads((folder / "icons.json").read_text(encoding="utf-8")))
                continue
            for language in {*languages, "en"}:
                annotations.setdefault(language, {}).update(_annotations(folder, language))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "{folder} holds no names of emoji or icons ({problem})", folder=folder.name, problem=repr(error)[:120]
            ) from None
    return table | _emoji(annotations)


def _annotations(folder: Path, language: str) -> dict[str, Any]:
    """Names and keywords of one language as CLDR has them: `{"🐱": {"default": [keywords], "tts": [name]}}`."""
    [path] = folder.glob(f"annotations*/{language}/annotations.json")
    [values] = [value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key.startswith("annotations")]
    return {bare(characters): about for characters, about in values["annotations"].items()}


def _emoji(annotations: Mapping[str, Mapping[str, Any]]) -> dict[str, Entry]:
    """Entries by emoji; of those with equal English names the first has the name."""
    table: dict[str, Entry] = {}
    english = annotations.get("en", {})
    for characters, about in english.items():
        names = {language: known[characters]["tts"][0] for language, known in annotations.items() if known.get(characters, {}).get("tts")}
        if "en" not in names:
            continue
        keywords = {language: _keywords(annotations[language][characters].get("default", ()), name) for language, name in names.items()}
        plain = english.get(_TONES.sub("", characters), about)
        table[characters] = Entry(
            characters=characters, concept=plain.get("tts", [names["en"]])[0].casefold(), names=names, keywords=keywords
        )
        table.setdefault(letters(names["en"]), table[characters])
    return table


def _icons(icons: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """Entries by name: English words with dashes, a Chinese title and tags."""
    table: dict[str, Entry] = {}
    for icon in icons:
        name, title = str(icon["name"]).replace("-", " "), str(icon["title"])
        names = {"zh": title, "en": name} if title else {"en": name}
        table[letters(name)] = Entry(
            characters="", concept=name.casefold(), names=names, keywords={"zh": _keywords(icon.get("tag") or (), title)}
        )
    return table


def _keywords(words: Sequence[str], name: str) -> list[str]:
    """Keywords other than the name, in an order by lot: the alphabet would always take the same few."""
    wanted = dict.fromkeys(str(word).strip() for word in words if str(word).strip() and str(word).strip() != name)
    return sorted(wanted, key=lambda word: hashlib.blake2b(f"{name}\0{word}".encode(), digest_size=8).digest())


class Emoji(Schema):
    """Drop variants of emoji, by the field `emoji`, or a name that is code points; a record with neither stays."""

    drop: list[Literal["skin_tones", "flags", "families"]] = Field(default_factory=lambda: ["skin_tones", "flags"])  # type: ignore[arg-type]
    """Skin tones other than the yellow one, flags of countries and regions, people joined to couples and families."""


_VARIANTS = {  # by option: the reason, and what is looked for
    "skin_tones": ("skin_tone", re.compile("[\U0001f3fb-\U0001f3ff]")),
    "flags": ("flag", re.compile("[\U0001f1e6-\U0001f1ff]|\U0001f3f4[\U000e0020-\U000e007f]")),
    "families": ("family", re.compile("[\U0001f466-\U0001f469\U0001f9d1\U0001f9d2].*\u200d.*[\U0001f466-\U0001f469\U0001f9d1\U0001f9d2]")),
}


def build_emoji(options: Emoji) -> Step:
    """The first variant that is not wanted is the reason."""

    def step(record: Record) -> Record | Dropped:
        characters = characters_of(record.meta)
        for variant in options.drop:
            reason, pattern = _VARIANTS[variant]
            if pattern.search(characters):
                return Dropped(reason, characters)
        return record

    return step


register("captions", Captions, build_captions, packages=lambda options: [path for table in options.tables for path in table.packages])
register("emoji", Emoji, build_emoji, shorthand="drop")
