"""Take the pictures of the studio's page in the documentation: `python docs/studio/shoot.py [URL [NAME ...]]`.

Names (`paint-en`) are of the only pictures wanted. Without the address of a running studio one is started in a new folder, and a poem,
pictures, a tune, a voice, a work and a small model are made in it first, which takes some minutes. Needs chromium and Playwright.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FilePayload, Page

HERE = Path(__file__).parent
PAGES = ("", "write", "paint", "compose", "speak", "film", "library", "jobs", "train", "evaluate", "models", "labels")
ALSO = (("write", "zh", "phone"), ("library", "zh", "phone"), ("", "en", "dark"), ("compose", "zh", "dark"))
LARGEST = 96 << 10
SETTLE = int(os.environ.get("SETTLE", "3000"))  # milliseconds, more on a busy machine
SIZES = {"": (1180, 860), "dark": (1180, 860), "phone": (390, 844)}
TEXTS = "春眠不觉晓 处处闻啼鸟 夜来风雨声 花落知多少 床前明月光 疑是地上霜 举头望明月 低头思故乡 白日依山尽 黄河入海流".replace(" ", "\n")
RECIPE = """version: 1
name: tiny
data: {source: texts/, split: {val: 0.2}}
model: {family: gpt, config: {layers: 2, width: 32, heads: 2, context: 32}}
train: {steps: 120, batch: 4, log_every: 5, evaluate_every: 20, sample_every: 40, checkpoint_every: 40}
generate: {prompts: [春]}
"""
ASKED = (  # page, prompt, what is there when it is done
    ("write", "中秋月夜", ".mb-card.mb-text [data-act=better], [data-act=better]"),
    ("paint", "a red apple", "[data-act=better]"),
    ("compose", "宁静的夜曲", ".mb-roll"),
    ("speak", "床前明月光，疑是地上霜。", "#mb-cards audio[preload=metadata]"),
)


@contextmanager
def studio() -> Iterator[str]:
    """A studio of its own with something in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in (("texts/a.txt", TEXTS), ("recipes/tiny.yaml", RECIPE)):
            (folder / path).parent.mkdir()
            (folder / path).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "miaobi.cli.main", "studio", "--port", "0", "--no-browser", "--json", "--log", "off"]
        environment = {**os.environ, "MIAOBI_HOME": str(folder / "home")}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            text = ""
            while not text.rstrip().endswith("}"):
                text += process.stdout.readline()
            yield json.loads(text)["url"].partition("/studio")[0]
        finally:
            process.terminate()
            process.wait()


def fill(browser: Browser, url: str) -> None:
    """Make something on every page."""
    page = browser.new_page()
    page.set_default_timeout(600_000)
    for path, prompt, done in ASKED:
        page.goto(f"{url}/studio/zh/{path}")
        page.locator(".mb-fields").wait_for()
        page.wait_for_timeout(2000)
        page.fill("#mb-prompt textarea", prompt)
        page.wait_for_timeout(500)
        page.click("button.mb-go")
        page.locator(done).first.wait_for()
    page.locator("[data-act=rate][data-value='5']").first.click()
    page.goto(f"{url}/studio/zh/train")
    page.wait_for_timeout(4000)
    page.locator("#mb-recipe input").click()
    page.get_by_role("option", name="tiny").click()
    page.wait_for_function("document.querySelector('#mb-yaml').innerText.includes('tiny')")
    page.click("button.mb-go")
    page.locator("#mb-progress .mb-done").wait_for()
    page.goto(f"{url}/studio/zh/")
    page.wait_for_timeout(3000)
    page.fill("#mb-prompt textarea", "雪夜归人")
    page.check("#field-draft input")
    page.click("button.mb-go")
    page.locator("#mb-progress .mb-done").wait_for()
    page.close()


def shoot(page: Page, url: str, path: str, language: str, kind: str) -> None:
    """One page as a small PNG."""
    page.goto(f"{url}/studio/{language}/{path}")
    page.locator(".mb-title h1").wait_for()
    if path in dict.fromkeys(asked for asked, _, _ in ASKED):
        page.locator(".mb-fields").first.wait_for()
    page.wait_for_timeout(SETTLE)  # the page listens for news for ever, so the network is never idle
    if path == "" and page.locator("#mb-works input").input_value() == "":
        page.locator("#mb-works input").click()
        page.get_by_role("option").first.click()
        page.wait_for_timeout(4000)
    if path == "film":
        page.locator("#mb-from input").click()
        page.get_by_role("option").first.click()
        page.wait_for_timeout(1500)
    if path == "models":
        page.locator("#mb-shelf [data-act=read]").first.click()
        page.wait_for_timeout(2500)
    if path == "labels":
        page.locator("#mb-drop input[type=file]").set_input_files(_poem(page, url))
        page.locator(".mb-seal").wait_for()
    seen = "[...document.images].every((image) => image.complete || image.getBoundingClientRect().top > innerHeight)"
    page.wait_for_function(seen)
    _small(page.screenshot(), HERE / f"{name_of(path, language, kind)}.png")


def name_of(path: str, language: str, kind: str) -> str:
    """The picture's name."""
    return "-".join(filter(None, (path or "create", language, kind)))


def _poem(page: Page, url: str) -> FilePayload:
    """A text of the library as a labelled file."""
    reader = page.context.new_page()
    reader.goto(f"{url}/studio/en/library")
    id = reader.locator("#mb-cards .mb-card.mb-text").first.get_attribute("data-key")
    reader.close()
    return {"name": "poem.md", "mimeType": "text/markdown", "buffer": page.request.get(f"{url}/studio/content/{id}/as.md").body()}


def _small(data: bytes, path: Path) -> None:
    """In as many colours as fit into `LARGEST`."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        stream = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
        if stream.tell() <= LARGEST:
            break
    path.write_bytes(stream.getvalue())


def main() -> None:
    """Every page in both languages; a few in the dark and on a phone."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        if len(sys.argv) > 1:
            every(browser, sys.argv[1].rstrip("/"), only=sys.argv[2:])
            return
        with studio() as url:
            fill(browser, url)
            every(browser, url)


def every(browser: Browser, url: str, *, only: Sequence[str] = ()) -> None:
    """All pictures, or some."""
    wanted = [(path, language, "") for language in ("en", "zh") for path in PAGES] + list(ALSO)
    for kind, (width, height) in SIZES.items():
        scheme = "dark" if kind == "dark" else "light"
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.set_default_timeout(120_000)
        for path, language, of in wanted:
            if of == kind and (not only or name_of(path, language, kind) in only):
                shoot(page, url, path, language, kind)
        context.close()


if __name__ == "__main__":
    main()
