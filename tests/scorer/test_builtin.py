"""The scorer that ships: found by its name, without torch, as good as its card says, and at hand wherever a judge is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from miaobi.core.home import builtin
from miaobi.core.types import Media, Modality
from miaobi.data.pictures import encode, render_svg
from miaobi.engine import eyes
from miaobi.engine.generate import collect
from miaobi.engine.load import load
from miaobi.engine.metrics.retrieval import ImageText
from miaobi.trust.safety import Refused

from .test_scorer import Copier

FOLDER = builtin() / "scorer"
HEART = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M4.5 8 1 4a2 2 0 0 1 3.5-2A2 2 0 0 1 8 4z" fill="#d24"/></svg>'
CAPTIONS = ["一颗红心", "绿色的叶子", "a blue house", "一辆汽车"]


def heart() -> Media:
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(render_svg(HEART, 96)), name="image")


def test_it_looks_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import miaobi\n"
        f"found = miaobi.load('scorer').generate('\\n'.join({CAPTIONS!r}), image=open('/dev/stdin', 'rb').read())[0]\n"
        "print(found.text, found.label.model, found.label.notes['probability'] > 0.9)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=heart().data, capture_output=True, check=False)
    assert done.stdout.decode().split() == ["一颗红心", "scorer", "True"], done.stderr.decode()


def test_its_card_tells_how_good_it_is_and_what_rounding_costs() -> None:
    report = json.loads((FOLDER / "eval.json").read_text(encoding="utf-8"))
    figures = report["figures"]
    assert min(figures[f"found_{what}_{language}@pair"]["value"] for what in ("caption", "picture") for language in ("zh", "en")) > 0.75
    lost = report["baselines"]["fp32"]["differences"]
    assert lost.keys() >= {"found_caption_zh", "found_picture_en"}
    assert all(abs(gap["value"]) < 0.01 for gap in lost.values())
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "EfficientNet" in card
    assert "fp32" in card


def test_its_texts_and_pictures_lie_in_one_space() -> None:
    model = load("scorer").model
    assert isinstance(model, ImageText)
    from miaobi.data.pictures import decode

    [seen] = model.embed_pictures([decode(heart().data)])
    assert int(np.argmax(model.embed_texts(CAPTIONS) @ seen)) == 0


def test_pictures_are_held_back_by_a_list_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.core.types import Request

    words = tmp_path / "captions.tsv"
    words.write_text("hearts\tblock\t一颗红心\nallow\t绿色的叶子\nallow\ta blue house\n", encoding="utf-8")
    monkeypatch.delenv(eyes.JUDGE, raising=False)
    monkeypatch.setenv(eyes.LIST, str(words))
    with pytest.raises(Refused, match="hearts"):
        collect(Copier(), Request.of(("", heart())))
