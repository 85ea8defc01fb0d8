"""The studio as a person uses it, in a real browser: made, rated, found again, reloaded in the middle, in two languages and on a phone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from miaobi.data.videos import Writer
from miaobi.studio.pages import pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from .conftest import Studio

PATHS = [each.path for each in pages()]
STRANGE = {"en": ["Déposer", "拖"], "zh": ["Drop", "Click to", "Textbox", "Radio", "Déposer"]}  # Gradio's own words
NOTICE = {"en": "AI-generated", "zh": "AI生成"}


def write(page: Page, studio: Studio, prompt: str, *, language: str = "en") -> None:
    """Let polly write two versions."""
    page.goto(studio.page("write", language))
    page.locator("#mb-model input").wait_for()
    page.locator("#mb-model input").click()
    page.get_by_role("option", name="polly").click()
    page.locator("#field-loud").wait_for()
    page.locator("#mb-prompt textarea").fill(prompt)
    page.keyboard.press("Control+Enter")
    page.locator("[data-act=better]").nth(1).wait_for()


def test_a_text_is_made_rated_chosen_and_found_again(page: Page, studio: Studio) -> None:
    write(page, studio, "春日早起")
    cards = page.locator("#mb-cards [data-key]")
    assert "春日早起" in cards.first.inner_text()
    cards.first.locator("[data-act=rate][data-value='4']").click()
    page.locator("#mb-cards [data-key]").first.locator("[data-value='4'][aria-pressed=true]").wait_for()
    page.wait_for_function("document.activeElement.dataset.value === '4'")  # the focus stays where it was
    cards.first.focus()
    page.keyboard.press("b")
    page.locator(".mb-chosen").wait_for()
    id = cards.first.get_attribute("data-key")

    page.goto(studio.page("library"))
    page.locator("#mb-prompt textarea, #mb-prompt input").fill("早起")
    page.keyboard.press("Enter")
    page.locator(f"[data-key='{id}'] [data-value='4'][aria-pressed=true]").wait_for()
    assert page.locator("#mb-cards [data-key]").count() == 2

    page.locator(f"[data-key='{id}'] a.mb-open").last.click()
    page.locator("#mb-single [data-key]").wait_for()
    page.get_by_label("Your version").fill("春日早起\n我的一句")
    page.get_by_role("button", name="Keep my version").click()
    page.get_by_text("as it was made:").wait_for()
    page.get_by_label("Tags").fill("spring, 春")
    page.keyboard.press("Enter")
    page.locator("#mb-comment textarea, #mb-comment input").fill("good")
    page.keyboard.press("Enter")
    page.locator(".mb-said li").wait_for()
    kept = _kept(studio, str(id))
    assert (kept["rating"], kept["tags"], kept["edit"], kept["comments"]) == (4.0, ["spring", "春"], "春日早起\n我的一句", ["good"])
    assert len(_choices(studio)) == 1


def test_settings_are_used_again(page: Page, studio: Studio) -> None:
    write(page, studio, "再来一次")
    id = page.locator("#mb-cards [data-key]").first.get_attribute("data-key")
    seed = _kept(studio, str(id))["seed"]
    page.goto(studio.page(f"write?from={id}"))
    page.locator("#field-loud").wait_for()
    page.wait_for_function("document.querySelector('#mb-prompt textarea').value === '再来一次'")
    page.get_by_text("More options").click()
    page.wait_for_function(f"document.querySelector('#field-seed input').value === '{seed}'")
    page.locator("button.mb-go").click()
    page.wait_for_function("(id) => ![id, 'draft-0'].includes(document.querySelector('#mb-cards [data-key]').dataset.key)", arg=id)
    again = page.locator("#mb-cards [data-key]").first.get_attribute("data-key")
    assert _kept(studio, str(again))["text"] == _kept(studio, str(id))["text"]


def test_a_family_of_a_third_party_has_its_form(page: Page, studio: Studio) -> None:
    page.goto(studio.page("paint", "zh"))
    page.locator("#mb-model input").click()
    page.get_by_role("option", name="daub").click()
    page.locator("#mb-prompt textarea").fill("red")
    page.wait_for_timeout(1500)
    page.locator("button.mb-go").click()
    card = page.locator(".mb-card.mb-image").first
    card.wait_for()
    assert "daub" in card.inner_text()
    assert NOTICE["zh"] in card.inner_text()
    shown = card.locator("img")
    page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=shown.element_handle())


def test_mistakes_are_told_in_words(page: Page, studio: Studio) -> None:
    page.goto(studio.page("", "zh"))
    page.locator("#field-draft").wait_for()
    page.wait_for_timeout(500)
    page.locator("button.mb-go").click()
    page.get_by_text("主题是空的", exact=False).or_(page.locator(".toast-body")).first.wait_for()
    assert "Traceback" not in page.content()


def test_a_job_goes_on_while_the_page_is_reloaded(page: Page, studio: Studio) -> None:
    page.goto(studio.page(""))
    page.locator("#field-draft").wait_for()
    page.locator("#mb-prompt textarea").fill("a rainy harbour at night")
    page.get_by_text("More options").click()
    for field, value in (("image_model", "none"), ("music_model", "none"), ("voice_model", "none")):
        box = page.locator(f"#field-{field} input")
        box.fill(value)
        box.press("Enter")
        box.press("Tab")
    page.locator("#field-only input").first.click()
    page.get_by_role("option", name="poem").click()
    page.keyboard.press("Escape")
    page.locator("button.mb-go").click()
    page.locator("#mb-progress .mb-state").wait_for()
    page.reload()
    page.locator("#mb-progress .mb-state, #mb-progress .mb-problem").first.wait_for()
    page.locator(".mb-part-poem").wait_for()
    page.locator("#mb-progress .mb-done").wait_for()
    page.goto(studio.page("jobs"))
    page.locator("#mb-jobs .mb-done").first.wait_for()
    assert "a rainy harbour at night" in page.locator("#mb-jobs").inner_text()
    found = list((studio.folder / "works").glob("*/poem.md"))
    assert len(found) == 1


def test_a_label_is_read(page: Page, studio: Studio, tmp_path: Path) -> None:
    write(page, studio, "标识")
    page.locator("#mb-cards [data-key] .mb-down summary").first.click()
    with page.expect_download() as download:
        page.locator("#mb-cards [data-key] .mb-down a").first.click()
    path = tmp_path / "poem.md"
    download.value.save_as(path)
    changed = tmp_path / "changed.md"
    changed.write_text("标题".join(path.read_text(encoding="utf-8").rsplit("标识", 1)), encoding="utf-8")
    page.goto(studio.page("labels"))
    page.locator("#mb-drop input[type=file]").set_input_files([path, changed])
    page.locator(".mb-seal").nth(1).wait_for()
    assert page.locator(".mb-seal").all_inner_texts() == ["intact", "changed"]


@pytest.mark.parametrize(("language", "width", "scheme"), [("en", 1280, "light"), ("zh", 375, "dark")])
def test_every_page_opens_on_a_desk_and_on_a_phone_without_help_from_elsewhere(
    browser: Browser, studio: Studio, language: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    window = browser.new_context(viewport={"width": width, "height": 740}, has_touch=width < 500, color_scheme=scheme, locale="fr")
    tab = window.new_page()
    asked: list[str] = []
    failed: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: failed.append(str(error)))
    for path in PATHS:
        tab.goto(studio.page(path, language))
        tab.locator(".mb-title h1").wait_for()
        tab.wait_for_timeout(300)
        assert tab.locator("nav a[aria-current=page]").count() == 1
        assert NOTICE[language] in tab.locator(".mb-notice").inner_text()
        text = tab.locator("main, body").first.inner_text()
        foreign = [words for words in STRANGE[language] if words in text]
        assert not foreign, f"{path or 'create'} says {foreign}"
        assert bool(re.search("[\u4e00-\u9fff]", text.replace("妙笔", "").replace("中", ""))) or language == "en"
        wide = tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= width + 1, f"{path or 'create'} is {wide} pixels wide"
        assert tab.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    assert not [url for url in asked if not url.startswith((studio.url, "data:", "blob:"))]
    assert not failed
    window.close()


def test_the_page_of_a_work_shows_its_film_and_runs_no_foreign_script(page: Page, studio: Studio) -> None:
    from miaobi.apps.create.page import TEMPLATE

    folder = studio.folder / "works" / "20261123-large-film"
    folder.mkdir(parents=True)
    with Writer(folder / "film.mp4", size=(64, 64), fps=8) as film:
        for level in range(16):
            film.add(np.full((64, 64, 3), level * 8, np.uint8))
    scene = '<ol class="scenes"><li><button type="button" data-start="0.5">x</button></li></ol>'
    text = TEMPLATE.read_text(encoding="utf-8").replace("{{film}}", '<video controls src="film.mp4"></video>').replace("{{scenes}}", scene)
    foreign = '<script>document.title = "foreign"</script><img src="x" onerror="document.title = 1">'
    (folder / "index.html").write_text(text.replace("{{poem}}", foreign), encoding="utf-8")
    parts = {name: {"stage": name, "files": {file: "ab"}} for name, file in (("film", "film.mp4"), ("page", "index.html"))}
    (folder / "manifest.json").write_text(json.dumps({"order": {"brief": "large"}, "parts": parts}), encoding="utf-8")
    page.goto(f"{studio.url}/studio/works/{folder.name}/index.html")
    page.wait_for_function("document.querySelector('video').readyState > 0")
    page.locator(".scenes button").click()
    page.wait_for_function("document.querySelector('video').currentTime > 0.5")
    assert page.title() != "foreign"
    assert page.title() != "1"


def test_keys_and_colours(page: Page, studio: Studio) -> None:
    page.goto(studio.page("library"))
    page.locator(".mb-title h1").wait_for()
    before = page.evaluate("document.body.classList.contains('dark')")
    page.locator("body").press("d")
    page.wait_for_function(f"document.body.classList.contains('dark') !== {str(before).lower()}")
    page.reload()
    page.wait_for_function(f"document.body.classList.contains('dark') !== {str(before).lower()}")
    page.locator(".mb-title h1").wait_for()
    page.locator("body").press("/")
    assert page.evaluate("!!document.activeElement.closest('#mb-prompt')")


def _kept(studio: Studio, id: str) -> dict[str, object]:
    from miaobi.library.store import Library

    library = Library.open(studio.home / "library")
    try:
        kept = library.get(id)
        return {
            "rating": kept.rating,
            "tags": list(kept.tags),
            "edit": kept.edits[-1].value if kept.edits else "",
            "comments": [said.value for said in kept.comments],
            "text": kept.text,
            "seed": kept.label.seed,
        }
    finally:
        library.close()


def _choices(studio: Studio) -> list[object]:
    import sqlalchemy as sa

    from miaobi.library.store import Library
    from miaobi.library.tables import ChoiceRow

    library = Library.open(studio.home / "library")
    try:
        with library.database.reading() as session:
            return list(session.scalars(sa.select(ChoiceRow.number)))
    finally:
        library.close()
