"""A content as a card: what it is, who made it of what, and what may be done with it. Cards are HTML; `static/cards.js` keeps them alive.

Whatever a model or a person wrote is escaped. Media come by the content's id and the number of the part (see `media`).
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from miaobi.core.families import families
from miaobi.core.language import tr
from miaobi.core.types import Modality
from miaobi.library.store import HIGHEST, Kept, Stored
from miaobi.studio import timelines
from miaobi.studio.frame import script
from miaobi.studio.room import Making
from miaobi.trust.media import MIDI, MUSICXML
from miaobi.trust.replay import APP

PAGES = {  # where a content's settings are used again
    Modality.TEXT: "write",
    Modality.IMAGE: "paint",
    Modality.MUSIC: "compose",
    Modality.AUDIO: "speak",
    Modality.VIDEO: "film",
}
AS = {  # the kinds of files that a content may be taken home as, the usual one first
    Modality.TEXT: (".md", ".txt"),
    Modality.IMAGE: (".png", ".jpg", ".webp"),
    Modality.MUSIC: (".mid", ".musicxml", ".mp3", ".wav"),
    Modality.AUDIO: (".wav", ".mp3", ".flac"),
    Modality.VIDEO: (".mp4", ".webm", ".gif"),
}
LONGEST_PROMPT = 80
FEW = 3  # entries of a mapping that are shown at once

Card = dict[str, str]


def cards(elem_id: str = "mb-cards", **more: Any) -> gr.HTML:
    """An empty place for cards. Its event `submit` tells `act`, `id` and `value`."""
    return gr.HTML(
        value=[],
        html_template='<div class="mb-cards"></div>',
        js_on_load=script("cards.js"),
        apply_default_css=False,
        elem_id=elem_id,
        **more,
    )


def card(kept: Kept, *, better: bool = False, chosen: bool = False, use: bool = False, open_: bool = True) -> Card:
    """A kept content.

    Args:
        better: offer to say that it is the better one of those beside it.
        chosen: it was said to be.
        use: offer to start from its picture.
    """
    buttons = [_stars(kept)]
    if better or chosen:
        words = tr("the better one") if chosen else tr("this is better")
        buttons.append(
            f'<button type="button" data-act="better" aria-pressed="{str(chosen).lower()}">{"✓ " if chosen else ""}{_e(words)}</button>'
        )
    if use:
        buttons.append(f'<button type="button" data-act="use">{_e(tr("start from it"))}</button>')
    buttons.append(_again(kept))
    buttons.append(_downloads(kept))
    about = f'<p class="mb-name">{_name(kept, open_)}</p><p class="mb-who">{_who(kept)}</p>'
    inner = f'{_body(kept)}<footer>{about}<div class="mb-acts">{"".join(buttons)}</div></footer>'
    classes = f"mb-card mb-{kept.modality}" + (" mb-chosen" if chosen else "")
    return finished(kept.id, f'<article class="{classes}" tabindex="0" aria-label="{_e(title_of(kept))}">{inner}</article>')


def draft(making: Making, index: int = 0) -> Card:
    """What is being made just now: its words so far, or how far it is and what it looks like."""
    text = making.texts.get(index, "")
    body = f'<div class="mb-text mb-live">{_lines(text)}<span class="mb-caret"></span></div>' if text else ""
    if making.preview is not None and not text:
        body += _preview(making)
    if making.total:
        words = f"{making.step} / {making.total}"
        body += f'<progress max="{making.total}" value="{making.step}"></progress><p class="mb-who">{words}</p>'
    elif not text:
        body += f'<p class="mb-who mb-waiting">{_e(tr("waiting for {model}", model=making.model))}</p>'
    return finished(f"draft-{index}", f'<article class="mb-card mb-draft">{body}</article>')


def _preview(making: Making) -> str:
    assert making.preview is not None
    url = f"../making/{making.id}/{making.step}"
    if making.preview.modality is Modality.IMAGE:
        return f'<img src="{url}" alt="{_e(tr("preview"))}">'
    return f'<audio controls src="{url}"></audio>' if making.preview.modality is Modality.AUDIO else ""


def problem(words: str) -> Card:
    """What went wrong, where the results would be."""
    return finished("problem", f'<article class="mb-card mb-problem" role="alert">{_e(words)}</article>')


def note(words: str) -> Card:
    """A quiet word where there are no cards."""
    return finished("note", f'<p class="mb-card mb-note">{_e(words)}</p>')


def moment(at: str) -> str:
    """A time in UTC, as ISO 8601 writes it; the page shows it as the reader's clock does."""
    return f'<time datetime="{_e(at)}">{_e(at[:19].replace("T", " "))} UTC</time>'


def finished(key: str, code: str) -> Card:
    """A card of that HTML: the same key is the same card, the same version is drawn once."""
    return {"key": key, "html": code, "version": hashlib.sha256(code.encode()).hexdigest()[:12]}


def _body(kept: Kept) -> str:
    """The parts, in order; a text that was edited is shown as it is now."""
    edited = str(kept.edits[-1].value) if kept.edits else ""
    texts = [edited] if edited else list(kept.texts)
    shown = [f'<div class="mb-text" lang="">{_lines(text)}</div>' for text in texts if text.strip()]
    return "".join(_medium(kept, position, part) for position, part in enumerate(kept.parts) if isinstance(part, Stored)) + "".join(shown)


def _medium(kept: Kept, position: int, part: Stored) -> str:
    url = f"../content/{kept.id}/{position}"
    alt = _e(title_of(kept))
    match part.modality:
        case Modality.IMAGE:
            return (
                f'<a class="mb-open" href="library?{urlencode({"id": kept.id})}"><img loading="lazy" src="{url}?width=480" alt="{alt}"></a>'
            )
        case Modality.AUDIO:
            return f'<audio controls preload="metadata" src="{url}"></audio>'
        case Modality.MUSIC:
            roll = ""
            if part.mime == MIDI:
                words = _e(tr("click a note to hear it from there"))
                roll = (
                    f'<div class="mb-score" title="{words}"><img class="mb-roll" loading="lazy" src="{url}/roll" alt="{alt}"><i></i></div>'
                )
            sound = f'<audio controls preload="none" src="{url}/sound"></audio>' if part.mime in (MIDI, MUSICXML) else ""
            return f'<div class="mb-tune">{roll}{sound}</div>'
        case Modality.VIDEO if part.mime.startswith("image/"):
            return f'<img loading="lazy" src="{url}" alt="{alt}">'
        case Modality.VIDEO:
            return f'<video controls preload="none" poster="{url}/poster" src="{url}"></video>'
        case _:
            return ""


def title_of(kept: Kept) -> str:
    """What a content is called: its prompt's first line, the first words of a film's timeline, or who made it."""
    label = kept.label
    words = timelines.title_of(label.prompt) if label.family == APP and kept.modality is Modality.VIDEO else label.prompt
    first = words.strip().splitlines()[:1] or [_maker(kept)]
    return first[0][:LONGEST_PROMPT]


def _maker(kept: Kept) -> str:
    """The model by its name; an app by what it is called."""
    return tr(kept.label.model) if kept.label.family == APP else kept.label.model


def _name(kept: Kept, open_: bool) -> str:
    """The title; it leads to all that is known of the content."""
    title = f"<b>{_e(title_of(kept))}</b>"
    return f'<a class="mb-open" href="library?{urlencode({"id": kept.id})}">{title}</a>' if open_ else title


def _who(kept: Kept) -> str:
    """Model, seed, and the words that the law asks for."""
    seed = f"{tr('seed')} {kept.label.seed}"
    return f'{_e(_maker(kept))} · <span>{_e(seed)}</span> · <span class="mb-ai">{_e(tr("AI-generated"))}</span>'


def _stars(kept: Kept) -> str:
    own = round(kept.rating or 0)
    stars = "".join(
        f'<button type="button" data-act="rate" data-value="{value}" aria-label="{_e(tr("rate {value} of 5", value=value))}"'
        f' aria-pressed="{str(value <= own).lower()}">{"★" if value <= own else "☆"}</button>'
        for value in range(1, HIGHEST + 1)
    )
    return f'<span class="mb-stars" role="group" aria-label="{_e(tr("rating"))}">{stars}</span>'


def _again(kept: Kept) -> str:
    """The way to the page that made it, with its settings; an app's works have none."""
    if kept.label.family == APP or kept.modality not in PAGES:
        return ""
    page = page_of(kept.label.family, kept.modality)
    return f'<a href="{page}?{urlencode({"from": kept.id})}">{_e(tr("these settings"))}</a>'


def page_of(family: str, modality: Modality) -> str:
    """The page on which a family is asked: what listens to sounds belongs to speech, whatever comes out."""
    known = families().get(family)
    if known is not None and modality is Modality.TEXT and "sound" in known.inputs:
        return PAGES[Modality.AUDIO]
    return PAGES[modality]


def _downloads(kept: Kept) -> str:
    """A labelled file in a format of the person's choice."""
    modality = Modality.IMAGE if kept.modality is Modality.VIDEO and not kept.media else kept.modality
    links = "".join(f'<a href="../content/{kept.id}/as{suffix}" download>{suffix}</a>' for suffix in AS[modality])
    return f'<details class="mb-down"><summary>{_e(tr("download"))}</summary><div>{links}</div></details>'


def _lines(text: str) -> str:
    return _e(text).replace("\n", "<br>")


def _e(text: object) -> str:
    return html.escape(str(text))


def options_table(options: Mapping[str, Any]) -> str:
    """A content's options as rows."""
    from miaobi.studio.forms import label_of

    rows = ((label_of(name), value) for name, value in options.items() if value not in (None, "", [], {}))
    return "".join(f"<dt>{_e(name)}</dt><dd>{_shown(value)}</dd>" for name, value in rows)


def _shown(value: Any) -> str:
    """An option's value; the files of a work, of which there are many, are folded away."""
    if isinstance(value, Mapping):
        lines = [f"{key}: {_plain(inner)}" for key, inner in value.items()]
        if len(lines) <= FEW:
            return _e(", ".join(lines))
        return f'<details class="mb-spec"><summary>{len(lines)}</summary><pre>{_e(chr(10).join(lines))}</pre></details>'
    return _e(_plain(value))


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def listed(found: Iterable[Kept], **more: Any) -> list[Card]:
    """Several cards."""
    return [card(kept, **more) for kept in found]
