"""A studio in a process of its own with two small models from a plugin, and a browser to look at it: Debian's chromium."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from miaobi.core.artifact import new_folder, seal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PLUGIN = Path(__file__).parents[1] / "api" / "plugin"
LINES = ["春眠不觉晓", "处处闻啼鸟", "夜来风雨声", "花落知多少"]
PATIENCE = 60_000  # milliseconds for whatever a page waits for: the machine may be busy


@dataclass(frozen=True)
class Studio:
    """A running studio."""

    url: str  # http://127.0.0.1:PORT
    folder: Path
    home: Path

    def page(self, path: str = "", language: str = "en") -> str:
        """The address of a page."""
        return f"{self.url}/studio/{language}/{path}"


def environment(home: Path) -> dict[str, str]:
    """Of the process: the plugin's families, a home of its own."""
    return {
        **os.environ,
        "PYTHONPATH": str(PLUGIN),
        "MIAOBI_HOME": str(home),
        "MIAOBI_LANG": "en",
        "OMP_NUM_THREADS": "1",
    }


def small_models(artifacts: Path) -> None:
    """`polly` and `daub`; the plugin's folder is in `sys.path` then."""
    from miaobi_dauber import Dauber
    from miaobi_parrot import Parrot

    for name, kind, model in (("polly", "parrot", Parrot(LINES)), ("daub", "dauber", Dauber())):
        with new_folder(artifacts / name) as new:
            model.save(new)
            seal(new, family=kind, name=name, licence="CC0-1.0")


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """`miaobi studio` in an empty folder with the models `polly` (texts) and `daub` (pictures)."""
    root = tmp_path_factory.mktemp("studio")
    home, folder = root / "home", root / "work"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        small_models(folder / "artifacts")
    command = [sys.executable, "-m", "miaobi.cli.main", "studio", "--port", "0", "--no-browser", "--json", "--log", "off", "--threads", "1"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(home), stdout=subprocess.PIPE, stderr=(root / "log").open("w"), text=True
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        text = ""
        for line in lines:
            text += line
            if line.startswith("}") or (line.startswith("{") and line.rstrip().endswith("}")):
                break
        assert text, (root / "log").read_text()
        yield Studio(url=json.loads(text)["url"].partition("/studio")[0], folder=folder, home=home)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One chromium for a file's tests; Playwright's event loop runs as long, and no other can run beside it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's profile of its own: nothing stored, and nothing fetched from anywhere else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def page(window: BrowserContext) -> Iterator[Page]:
    """A tab in which no script may fail."""
    tab = window.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    yield tab
    assert not problems
