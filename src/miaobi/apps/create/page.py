"""The page of a work: one file that shows and plays all of it without a network, with its labels where `miaobi show` finds them.

Film, music and pictures lie in the page itself; a film too large for that is linked. The poem stands in the element that labels of HTML are
about (see `trust.formats`), so `miaobi verify index.html` compares its text with the label.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.apps.create.media import spoken
from miaobi.apps.create.work import Poem, Work
from miaobi.core.errors import MiaobiError

if TYPE_CHECKING:
    from miaobi.apps.create.studio import Made

TEMPLATE = Path(__file__).with_name("page.html")
PAGE = "index.html"
LARGEST_INSIDE = 24 << 20  # bytes of a film that is put into the page
THUMB = 480  # pixels of a picture's longer side
WORDS = {
    "zh": {
        "poem": "诗",
        "scenes": "画面（点按即从该处播放）",
        "still": "画面",
        "music": "音乐",
        "film": "短片",
        "by": "作者",
        "seed": "种子",
        "you": "你",
    },
    "en": {
        "poem": "Poem",
        "scenes": "Scenes (choose one to play from there)",
        "still": "Pictures",
        "music": "Music",
        "film": "Film",
        "by": "made by",
        "seed": "seed",
        "you": "you",
    },
}
FONTS = {
    "zh": '"LXGW WenKai", "Kaiti SC", STKaiti, KaiTi, "Noto Serif CJK SC", serif',
    "en": 'Georgia, "Iowan Old Style", "Noto Serif", serif',
}
MIMES = {".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".m4a": "audio/mp4"}


def page(work: Work, poem: Poem, pictures: Sequence[Made], music: Made | None, film: Made | None) -> Made | None:
    """The page."""
    parts = [*pictures, *(each for each in (music, film) if each is not None)]
    inputs = {
        "poem": poem.text,
        "title": poem.title,
        "mark": work.mark,
        "files": {name: sha for made in parts for name, sha in made.files.items()},
    }
    return work.part("page", "page", inputs, lambda: _write(work, poem, pictures, music, film))


def _write(
    work: Work, poem: Poem, pictures: Sequence[Made], music: Made | None, film: Made | None
) -> tuple[Sequence[str], Mapping[str, Any]]:
    from miaobi.core.artifact import write_text
    from miaobi.core.types import Request
    from miaobi.engine.generate import assembled
    from miaobi.trust import label

    request = Request.of(work.order.brief, seed=work.order.seed or 0, files=_hashes(pictures, music, film))
    words = label.visible(work.mark) if work.mark else ""
    content = assembled((poem.text,), (), app="create", request=request, mark=words)
    labels = {"AIGC": label.implicit(content.label), "miaobi": label.to_dict(content.label)}
    path = work.studio.path(PAGE)
    write_text(path, render(work, poem, pictures, music, film, labels, words))
    back = label.read_text(path)
    if (back.text, back.implicit, back.label) != (poem.text, labels["AIGC"], labels["miaobi"]):
        raise MiaobiError("{path}: the file read back is not what was written. Choose another format", path=path)
    work.tell(content, PAGE)
    return [PAGE], {"by": "create"}


def render(
    work: Work, poem: Poem, pictures: Sequence[Made], music: Made | None, film: Made | None, labels: Mapping[str, Any], visible: str
) -> str:
    """The page as HTML."""
    words, top_bottom = WORDS[poem.language], poem.mood.sky
    width, height = {"portrait": (9, 16), "square": (1, 1), "landscape": (16, 9)}[work.order.size]
    fields = {
        "lang": {"zh": "zh-Hans", "en": "en"}[poem.language],
        "metas": "\n".join(
            f'<meta name="{name}" content="{html.escape(json.dumps(value, ensure_ascii=False))}">' for name, value in labels.items()
        ),
        "title": html.escape(poem.title),
        "top": top_bottom[0],
        "bottom": top_bottom[1],
        "ink": poem.mood.ink,
        "font": FONTS[poem.language],
        "columns": "minmax(0, 26rem) minmax(0, 1fr)" if height > width else "minmax(0, 1fr)",
        "aspect": f"{width} / {height}",
        "film": _film(work, poem, film),
        "poem_word": words["poem"],
        "poem": html.escape(poem.text, quote=False).replace("\r", "&#13;"),
        "scenes": _scenes(work, poem, pictures, film),
        "music": _music(work, music, words["music"]),
        "credits": _credits(work, poem),
        "visible": html.escape(visible),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in fields.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _film(work: Work, poem: Poem, film: Made | None) -> str:
    if film is None:
        return ""
    path = work.studio.path(film.file)
    mime = "video/webm" if path.suffix == ".webm" else "video/mp4"
    source = _inside(path, mime) if path.stat().st_size <= LARGEST_INSIDE else html.escape(film.file)
    captions = next((name for name in film.files if name.endswith(".vtt")), "")
    track = ""
    if captions:
        lines = _inside(work.studio.path(captions), "text/vtt")
        track = f'<track kind="captions" srclang="{poem.language}" label="{WORDS[poem.language]["poem"]}" src="{lines}">'
    cover = work.studio.path("cover.png")
    poster = f' poster="{_thumb(cover, 960)}"' if cover.is_file() else ""
    label = html.escape(f"{WORDS[poem.language]['film']}: {poem.title}")
    return (
        f'<video controls playsinline preload="metadata" aria-label="{label}"{poster}><source src="{source}" type="{mime}">{track}</video>'
    )


def _scenes(work: Work, poem: Poem, pictures: Sequence[Made], film: Made | None) -> str:
    """A button a scene: its picture and its lines; it plays the film from there, where there is one."""
    words, starts = WORDS[poem.language], list(film.about.get("starts", ())) if film else []
    by_part = {made.part: made for made in pictures}
    rows = []
    for number, scene in enumerate(poem.scenes, 1):
        made = by_part.get(f"picture-{number}")
        if made is None:
            continue
        text = html.escape(spoken(scene, poem.language))
        alt = html.escape(scene.picture.prompt(poem.language))
        picture = f'<img src="{_thumb(work.studio.path(f"picture-{number}.png"), THUMB)}" alt="{alt}">'
        start = f' data-start="{starts[number]}"' if number < len(starts) else " disabled"
        rows.append(f'<li><button type="button"{start}>{picture}<span>{text}</span></button></li>')
    heading = words["scenes"] if starts else words["still"]
    return f'<section><h2>{heading}</h2><ol class="scenes">{"".join(rows)}</ol></section>' if rows else ""


def _music(work: Work, music: Made | None, heading: str) -> str:
    name = next((name for name in music.files if Path(name).suffix in MIMES), "") if music else ""
    if not name:
        return ""
    source = _inside(work.studio.path(name), MIMES[Path(name).suffix])
    return f'<section><h2>{heading}</h2><audio controls preload="metadata" aria-label="{heading}" src="{source}"></audio></section>'


def _credits(work: Work, poem: Poem) -> str:
    """Who made what, in one line."""
    words = WORDS[poem.language]
    names: dict[str, str] = {}
    for made in work.studio.parts.values():
        if made.stage in ("poem", "picture", "music", "narration") and made.about.get("by") not in (None, "create"):
            names.setdefault(str(made.about["by"]), made.stage)
    makers = ", ".join(words["you"] if name == "you" else name for name in names)
    return html.escape(f"miaobi 妙笔 · {words['by']} {makers} · {words['seed']} {work.order.seed}")


def _hashes(pictures: Sequence[Made], music: Made | None, film: Made | None) -> dict[str, str]:
    parts = [*pictures, *(each for each in (music, film) if each is not None)]
    return {name: sha for made in parts for name, sha in sorted(made.files.items())}


def _thumb(path: Path, longest: int) -> str:
    from miaobi.data import pictures

    pixels = pictures.decode(path.read_bytes())
    scale = min(1.0, longest / max(pixels.shape[:2]))
    small = pictures.resize(pixels, (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))))
    return _data_url(pictures.encode(small, "image/jpeg", quality=84), "image/jpeg")


def _inside(path: Path, mime: str) -> str:
    return _data_url(path.read_bytes(), mime)


def _data_url(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
