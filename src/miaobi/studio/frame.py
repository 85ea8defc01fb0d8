"""What every page has: its name, the way to the other pages, the words that say who made what is shown, and handlers in its language.

A page is drawn once for each language, so nothing is translated in the browser. Addresses in pages are relative, so that the studio may
stand behind any prefix.
"""

from __future__ import annotations

import contextlib
import functools
import html
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import gradio as gr

from miaobi.core.errors import MiaobiError
from miaobi.core.language import speaking, tr
from miaobi.studio.room import Room

STATIC = Path(__file__).parent / "static"
SANS = ("system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "sans-serif")
MONO = ("ui-monospace", "Consolas", "Noto Sans Mono CJK SC", "monospace")
VERMILION = gr.themes.Color(
    name="vermilion",
    c50="#fdf4f2", c100="#fbe5e1", c200="#f6cdc6", c300="#eda99e", c400="#df7a6b", c500="#c9513f",
    c600="#b23a2a", c700="#952e20", c800="#7b281d", c900="#67251c", c950="#38100b",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """Paper, ink and a seal's red; fonts of this machine only, since nothing may be fetched."""
    return gr.themes.Base(
        primary_hue=VERMILION,
        secondary_hue=VERMILION,
        neutral_hue=gr.themes.colors.stone,
        font=list(SANS),
        font_mono=list(MONO),
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_text_color_subdued="*neutral_500",  # a contrast of 4.6 on paper; the usual 400 has 2.5
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_400",
        input_placeholder_color_dark="*neutral_500",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_label_background_fill="transparent",
        block_label_border_width="0px",
        block_label_text_weight="500",
        button_large_padding="10px 18px",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        link_text_color_dark="*primary_400",
        link_text_color_hover_dark="*primary_300",
        block_padding="9px 12px",
        layout_gap="12px",
        form_gap_width="0px",
        input_padding="7px 10px",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_500",
        block_info_text_size="12px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_950",
    )


def style() -> str:
    """The style sheet."""
    return (STATIC / "studio.css").read_text(encoding="utf-8")


def head() -> str:
    """What every page's head begins with: language and colour scheme before anything is shown, keys, and the language switch."""
    script = (STATIC / "studio.js").read_text(encoding="utf-8")
    seal = quote((STATIC / "seal.svg").read_text(encoding="utf-8"))
    return f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,{seal}"><script>{script}</script>'


def script(name: str) -> str:
    """The JavaScript of a component of ours."""
    return (STATIC / name).read_text(encoding="utf-8")


class Page:
    """One page. A subclass names itself and draws; `on` connects what happens with what is done."""

    path: ClassVar[str]
    name: ClassVar[str]
    """An English template."""
    about: ClassVar[str]
    """One sentence, an English template."""

    def __init__(self, room: Room, language: str) -> None:
        self.room, self.language = room, language

    def draw(self) -> None:
        """Put components onto the page and connect them."""
        raise NotImplementedError

    def loaded(self, page: gr.Blocks) -> None:
        """Connect what happens when the page is opened; by default nothing does."""

    def on(self, event: Callable[..., Any], do: Callable[..., Any], inputs: Any = None, outputs: Any = None, **more: Any) -> Any:
        """Connect an event with a handler that speaks the page's language; a person's mistake is shown in words."""
        settings = {"api_visibility": "private", "show_progress": "hidden", **more}
        return event(spoken(do, self.language), inputs, outputs, **settings)

    def tell(self, template: str, /, **values: object) -> None:
        """Show a short message that goes away by itself."""
        gr.Info(tr(template, **values), duration=4, title=tr("Studio"))


def spoken(do: Callable[..., Any], language: str) -> Callable[..., Any]:
    """A handler in a language: a coroutine, a generator (each step is a context of its own) or a plain function stays what it is."""
    if inspect.isasyncgenfunction(do):

        @functools.wraps(do)
        async def each(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
            steps = do(*arguments, **named)
            try:
                while True:
                    with _told(language):
                        step = await anext(steps, _END)
                    if step is _END:
                        return
                    yield step
            finally:
                await steps.aclose()

        return each
    if inspect.isgeneratorfunction(do):

        @functools.wraps(do)
        def every(*arguments: Any, **named: Any) -> Iterator[Any]:
            steps = do(*arguments, **named)
            try:
                while True:
                    with _told(language):
                        step = next(steps, _END)
                    if step is _END:
                        return
                    yield step
            finally:
                steps.close()

        return every
    if inspect.iscoroutinefunction(do):

        @functools.wraps(do)
        async def later(*arguments: Any, **named: Any) -> Any:
            with _told(language):
                return await do(*arguments, **named)

        return later

    @functools.wraps(do)
    def now(*arguments: Any, **named: Any) -> Any:
        with _told(language):
            return do(*arguments, **named)

    return now


_END = object()


@contextlib.contextmanager
def _told(language: str) -> Iterator[None]:
    """The language, and a person's mistake as Gradio's error, which shows no traceback."""
    with speaking(language):
        try:
            yield
        except MiaobiError as error:
            raise gr.Error(html.escape(str(error)), duration=12, title=tr("Not done"), print_exception=False) from None


def header(page: type[Page], pages: Sequence[type[Page]], language: str) -> str:
    """The top of a page: the ways to all others, the language, light or dark, and who makes what is shown."""
    other, name = ("en", "EN") if language == "zh" else ("zh", "中")
    notice = tr("AI-generated: what is made and shown here was written, drawn, composed or spoken by AI.")
    links = "".join(
        f'<a href="{_address(each)}"{" aria-current=page" if each is page else ""}>{html.escape(tr(each.name))}</a>' for each in pages
    )
    return (
        f'<header class="mb-top"><a class="mb-brand" href="./">妙笔<span>miaobi</span></a>'
        f'<nav aria-label="{html.escape(tr("Pages"))}">{links}</nav>'
        f'<div class="mb-tools"><button type="button" data-mb="theme" title="{html.escape(tr("light or dark (press D)"))}">◐</button>'
        f'<a data-mb="language" href="../{other}/{page.path}" lang="{other}">{name}</a></div></header>'
        f'<p class="mb-notice" role="note">{html.escape(notice)}</p>'
    )


def _address(page: type[Page]) -> str:
    return "./" + page.path
