"""The HTML of a report: one file, no scripts, nothing loaded from anywhere, Chinese and Latin fonts by a stack."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from miaobi.core.language import language
from miaobi.engine.report.plot import FONT, style

CSS = f"""
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 {FONT}}}
main{{max-width:1180px;margin:0 auto;padding:40px 24px 80px}}
h1{{font-size:1.9rem;line-height:1.25;margin:0 0 .2em}} h2{{font-size:1.25rem;margin:2.2em 0 .6em}}
p.lead{{color:var(--soft);margin:.2em 0 1.4em}} p.note{{color:var(--soft);font-size:.875rem}}
.wide{{overflow-x:auto}} table{{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}}
th,td{{padding:7px 8px;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;white-space:nowrap}}
th{{color:var(--soft);font-weight:600;white-space:normal;vertical-align:bottom}}
th:first-child,td:first-child{{text-align:left;padding-left:0}}
td.text,th.text{{text-align:left;white-space:normal}} td:first-child{{white-space:nowrap}}
td.text:first-child{{white-space:normal;min-width:9em}} td.text:last-child:not(:first-child):not(:empty){{min-width:13em}}
td.best{{font-weight:700}} td small{{color:var(--soft);font-weight:400;font-size:.75rem}}
.plots{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:24px}}
svg.plot{{width:100%;height:auto;max-width:560px;display:block}}
.samples{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr));gap:16px}}
.sample{{border:1px solid var(--rule);border-radius:10px;padding:14px 16px;break-inside:avoid}}
.sample h3{{margin:0 0 .5em;font-size:.82rem;font-weight:600;color:var(--soft)}}
.sample div{{white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.9;
font-family:Georgia,"Songti SC","Noto Serif CJK SC",SimSun,serif}}
.pictures{{display:flex;flex-wrap:wrap;gap:14px;align-items:flex-end}}
.pictures figure{{margin:0;max-width:min(100%,680px)}} .pictures img{{display:block;max-width:100%;border-radius:6px;background:#fff}}
.pictures figcaption{{font-size:.78rem;line-height:1.35;color:var(--soft);margin-top:4px;max-width:12em;overflow-wrap:anywhere}}
.dot{{display:inline-block;width:.65em;height:.65em;border-radius:50%;margin-right:.5em}}
@media print{{main{{padding:0}}}}
"""


def page(title: str, sections: Sequence[str], *, lead: str = "") -> str:
    """A whole document. `title` and `lead` are text; the sections are HTML."""
    tag = "zh-CN" if language() == "zh" else "en"
    intro = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return (
        f'<!doctype html>\n<html lang="{tag}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{style()}{CSS}</style></head>\n'
        f"<body><main><h1>{escape(title)}</h1>{intro}\n" + "\n".join(part for part in sections if part) + "\n</main></body></html>\n"
    )


def section(title: str, *parts: str, note: str = "") -> str:
    """A headed part of a page; nothing when it would be empty."""
    if not any(parts):
        return ""
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}{below}</section>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: Sequence[int] = (), markup: bool = False) -> str:
    """A table. `head` is text, or `markup`; cells are HTML, a cell that begins with `!` is the best of its column."""
    left = {0, *text_columns}
    names = head if markup else [escape(name) for name in head]
    heads = "".join(f'<th{_text(column, left)} scope="col">{name}</th>' for column, name in enumerate(names))
    body = "".join("<tr>" + "".join(_cell(cell, column, left) for column, cell in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def samples(items: Sequence[tuple[str, str]]) -> str:
    """Cards with a heading and a text, side by side where there is room."""
    cards = "".join(f'<div class="sample"><h3>{escape(head)}</h3><div>{escape(text)}</div></div>' for head, text in items)
    return f'<div class="samples">{cards}</div>' if cards else ""


def pictures(items: Iterable[tuple[bytes, str]], *, about: str) -> str:
    """PNG pictures with words below, side by side, in the page itself; `about` is read out where a picture has no words."""
    figures = "".join(
        f'<figure><img alt="{escape(words or about)}" src="data:image/png;base64,{b64encode(data).decode()}">'
        + (f"<figcaption>{escape(words)}</figcaption>" if words else "")
        + "</figure>"
        for data, words in items
    )
    return f'<div class="pictures">{figures}</div>' if figures else ""


def dot(colour: int) -> str:
    """The mark of a series in a table."""
    return f'<span class="dot" style="background:var(--s{colour % 8})"></span>'


def _text(column: int, left: set[int]) -> str:
    return ' class="text"' if column in left else ""


def _cell(cell: str, column: int, left: set[int]) -> str:
    best = cell.startswith("!")
    names = " ".join(name for name, applies in (("text", column in left), ("best", best)) if applies)
    return f'<td class="{names}">{cell.removeprefix("!")}</td>' if names else f"<td>{cell}</td>"
