"""Labels: drop a file, and read what it says about itself, and whether it is as it was made."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from miaobi.core.errors import MiaobiError
from miaobi.core.language import tr
from miaobi.studio import cards
from miaobi.studio.frame import Page

if TYPE_CHECKING:
    from miaobi.trust.verify import Verdict


class Labels(Page):
    """One file at a time, or several."""

    path = "labels"
    name = "Labels"
    about = "Drop a file: was it made by AI, by which model, and was it changed since?"

    def draw(self) -> None:
        """A place for files, and a verdict for each."""
        self.files = gr.File(label=tr("Texts, pictures, sounds, scores, films"), file_count="multiple", height=160, elem_id="mb-drop")
        self.cards = cards.cards("mb-verdicts")
        self.on(self.files.change, self._verify, [self.files], [self.cards])

    def _verify(self, files: list[str] | None) -> list[cards.Card]:
        return [self._verdict(Path(str(file))) for file in files or ()]

    def _verdict(self, path: Path) -> cards.Card:
        from miaobi.trust.verify import verify

        try:
            return verdict_card(verify(path))
        except MiaobiError as error:
            words = str(error).replace(str(path), path.name)
            return cards.finished(path.name, f'<article class="mb-card mb-problem" role="alert">{html.escape(words)}</article>')


def verdict_card(verdict: Verdict) -> cards.Card:
    """A seal that tells the verdict at a glance, the sentence, and the whole label."""
    path = verdict.path
    mark, words = _seal(verdict)
    sentence = html.escape(str(verdict).replace(str(path), path.name))
    parts = [f'<h3>{html.escape(path.name)} <span class="mb-seal mb-{mark}">{html.escape(words)}</span></h3>', f"<p>{sentence}</p>"]
    label = verdict.label
    if label is not None:
        rows = {
            tr("Prompt"): label.prompt,
            tr("Model"): f"{label.model} ({label.family})",
            tr("Seed"): label.seed,
            tr("Made"): label.created.replace("T", " ").replace("Z", " UTC"),
            tr("Visible mark"): verdict.visible,
            tr("SHA-256 of the content"): label.content_sha256,
        }
        listed = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in rows.items() if value != "")
        parts.append(f'<dl class="mb-facts">{listed}{cards.options_table(label.options)}</dl>')
        if verdict.replayable:
            words = html.escape(tr("It can be made again, byte for byte:"))
            parts.append(f'<p class="mb-who">{words} <code>miaobi replay {html.escape(path.name)}</code></p>')
    if verdict.implicit:
        words = html.escape(tr("the implicit label of GB 45438-2025"))
        implicit = html.escape(json.dumps(dict(verdict.implicit), ensure_ascii=False, indent=1))
        parts.append(f'<details class="mb-spec"><summary>{words}</summary><pre>{implicit}</pre></details>')
    return cards.finished(path.name, f'<article class="mb-card mb-verdict">{"".join(parts)}</article>')


def _seal(verdict: Verdict) -> tuple[str, str]:
    if not verdict.labelled:
        return "none", tr("no label")
    if verdict.intact is None:
        return "foreign", tr("labelled by others")
    return ("good", tr("intact")) if verdict.good else ("bad", tr("changed"))
