"""The data card: what the data is, where it comes from, what was left out and why. card.json for programs, README.md and plots for people.

After Gebru et al., Datasheets for Datasets (2021), and with the front matter that the Hugging Face hub reads. Nothing in it depends on the
time or on the machine, so preparing again gives the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from miaobi.core.artifact import write_bytes, write_text
from miaobi.data import plots
from miaobi.data.contact import Contact
from miaobi.data.dataset import SPLITS
from miaobi.data.pictures import encode
from miaobi.data.plan import Plan
from miaobi.data.statistics import Statistics

MOST_SHOWN = 20
CONTACT = "contact.png"
_COUNTED = ("sizes", "formats", "captioned", "captions")
_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def write(
    folder: Path, plan: Plan, statistics: Statistics, manifest: Mapping[str, Any], contact: Contact, *, dropped: Counter[str], read: int
) -> None:
    """Write card.json, the plots, the contact sheet of pictures and README.md into `folder`."""
    values = describe(plan, statistics, manifest, dropped=dropped, read=read)
    sheet = contact.sheet()
    if sheet is not None:
        values["pictures"] = _pictures(statistics, contact)
        write_bytes(folder / CONTACT, encode(sheet))
    write_text(folder / "card.json", json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    write_text(folder / "README.md", markdown(values, plots.write(folder / "plots", values)))


def describe(plan: Plan, statistics: Statistics, manifest: Mapping[str, Any], *, dropped: Counter[str], read: int) -> dict[str, Any]:
    """The card as plain values."""
    split = {name: statistics.records[name] for name in SPLITS}
    return {
        "name": manifest["name"],
        "sha256": manifest["sha256"],
        "licences": manifest["licences"],
        "sources": [{**source, "kept": kept} for source, kept in zip(plan.sources, statistics.sources, strict=True)],
        **({"tables": list(plan.tables)} if plan.tables else {}),
        "records": {"read": read, "kept": sum(split.values()), **split},
        "split": plan.section.split.model_dump(mode="json"),
        "steps": [{step.kind.name: step.options.model_dump(mode="json")} for step in plan.steps],
        "dropped": [{"step": key.split(" ", 1)[0], "reason": key.split(" ", 1)[1], "records": count} for key, count in _largest(dropped)],
        "lengths": _lengths(statistics.lengths),
        "characters": _characters(statistics.characters),
        "meta": {key: _categories(counter) for key, counter in sorted(statistics.meta.items()) if counter},
        "tokenizer": plan.section.tokenizer.model_dump(mode="json") if plan.section.tokenizer else None,
    }


def _pictures(statistics: Statistics, contact: Contact) -> dict[str, Any]:
    """How many pictures there are, of which sizes and formats, described in which languages; `rows` are those of the contact sheet."""
    counts = statistics.pictures
    kinds = {kind: {key.split(" ", 1)[1]: count for key, count in _largest(counts) if key.startswith(f"{kind} ")} for kind in _COUNTED}
    sizes = dict(list(kinds["sizes"].items())[:MOST_SHOWN])
    return {"number": counts["pictures all"], "bytes": statistics.picture_bytes, **kinds, "sizes": sizes, "rows": contact.rows}


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """By count, then by name, so that the order is always the same."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _lengths(lengths: Counter[int]) -> dict[str, Any]:
    """Quantiles of the texts' lengths in characters, and how many there are of each length (long ones by powers of two)."""
    total = lengths.total()
    ordered = sorted(lengths.items())
    quantiles: dict[str, int] = {}
    for share in _QUANTILES:
        seen = 0
        for length, count in ordered:
            seen += count
            if seen >= share * total:
                quantiles[f"{share:.0%}"] = length
                break
    mean = sum(length * count for length, count in ordered) / total if total else 0.0
    return {"mean": round(mean, 2), "quantiles": quantiles, "histogram": {str(length): count for length, count in ordered}}


def _characters(characters: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """How many characters, how many different ones, how many of those cover 99.5 %."""
    counts: Counter[str] = sum(characters.values(), Counter())
    total, seen, enough = counts.total(), 0, 0
    for _, count in counts.most_common():
        if seen >= 0.995 * total:
            break
        seen += count
        enough += 1
    return {"total": total, "distinct": len(counts), "cover_99.5%": enough, **{name: characters[name].total() for name in SPLITS}}


def _picture_sections(card: Mapping[str, Any]) -> list[str]:
    """Sizes, formats and captions, and the contact sheet."""
    pictures = card.get("pictures")
    if not pictures:
        return []
    rows = [(kind, ", ".join(f"{name} ({count:,})" for name, count in pictures[kind].items()) or "–") for kind in _COUNTED]
    lines = "; ".join(map(_cell, pictures["rows"]))
    return [
        "## Pictures",
        f"{pictures['number']:,} pictures, {pictures['bytes'] / 1e6:.1f} MB; `captioned` counts the records with a caption in a language.",
        _table(("", "pictures"), rows),
        f"![contact sheet]({CONTACT})",
        f"Rows from above: {lines}." if len(pictures["rows"]) > 1 else "",
    ]


def _length_sections(lengths: Mapping[str, Any]) -> list[str]:
    """Of texts and captions; pictures without captions have none."""
    if not lengths["quantiles"]:
        return []
    table = _table(("mean", *lengths["quantiles"]), [(lengths["mean"], *lengths["quantiles"].values())])
    return ["## Lengths", table, "In characters; the columns are quantiles."]


def _table_sections(card: Mapping[str, Any]) -> list[str]:
    """The packages that steps read, such as the names of emoji: their licences count, too."""
    if "tables" not in card:
        return []
    rows = ((table["name"], table["licence"] or "not stated") for table in card["tables"])
    return ["Steps read these:", _table(("table", "licence"), rows)]


def _categories(counter: Counter[str]) -> dict[str, Any]:
    """The commonest values of a field of meta."""
    return {"distinct": len(counter), "most": dict(_largest(counter)[:MOST_SHOWN])}


def markdown(card: Mapping[str, Any], images: Sequence[str]) -> str:
    """The card for people, in English, since the hub's readers are many; every figure is in card.json too."""
    records = card["records"]
    front = {"license": card["licences"] or ["unknown"], "pretty_name": card["name"], "tags": ["miaobi"]}
    parts = [
        "---\n" + yaml.safe_dump(front, allow_unicode=True, sort_keys=False) + "---",
        f"# {_cell(card['name'])}",
        f"{records['kept']:,} records of {records['read']:,} read; {card['characters']['total']:,} characters, "
        f"{card['characters']['distinct']:,} different. SHA-256 of the records: `{card['sha256']}`.",
        *_picture_sections(card),
        "## Sources",
        _table(
            ("source", "licence", "files", "MB", "kept", "marked"),
            (
                (
                    source["name"],
                    source["licence"] or "not stated",
                    source["files"],
                    f"{source['bytes'] / 1e6:.1f}",
                    f"{source['kept']:,}",
                    _pairs(source["meta"]),
                )
                for source in card["sources"]
            ),
        ),
        *_table_sections(card),
        "## Sides",
        _table(("train", "val", "test"), [tuple(f"{records[name]:,}" for name in SPLITS)]),
        "A record's side is a hash of its content and the seed; records that are alike are on one side.",
        "## Steps, in order",
        "\n".join(f"1. `{name}` {_pairs(options)}" for step in card["steps"] for name, options in step.items()) or "None.",
        "## Dropped",
        _table(("step", "reason", "records"), ((entry["step"], entry["reason"], f"{entry['records']:,}") for entry in card["dropped"])),
        "Every dropped record stands in `dropped.jsonl` with its reason.",
        *_length_sections(card["lengths"]),
        *(f"![{Path(image).stem}]({image})" for image in images),
        *_meta_sections(card["meta"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _meta_sections(meta: Mapping[str, Any]) -> list[str]:
    """A line a field: its commonest values."""
    if not meta:
        return []
    rows = (
        (key, f"{entry['distinct']:,}", ", ".join(f"{value or '–'} ({count:,})" for value, count in list(entry["most"].items())[:8]))
        for key, entry in meta.items()
    )
    return ["## Fields", _table(("field", "different", "commonest"), rows)]


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; no rows, no table."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    titles = [_cell(cell) for cell in head]
    return "\n".join(["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles), *lines]) if lines else "None."


def _cell(value: object) -> str:
    """Text that cannot break out of its cell or become HTML."""
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _pairs(values: Mapping[str, Any]) -> str:
    """Options in a line."""
    return ", ".join(f"{key} {_cell(value)}" for key, value in values.items() if value not in ("", [], None))
