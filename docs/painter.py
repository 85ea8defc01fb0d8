"""Draw docs/painter.png: what the built-in painter makes of sixteen prompts, the first two tries of each, nothing chosen."""

from __future__ import annotations

from pathlib import Path

import miaobi
from miaobi.core.types import Media
from miaobi.data.pictures import contact_sheet, decode, encode

PROMPTS = {
    "一只戴红帽子的猫": "fluent-3d",
    "a red apple": "fluent-3d",
    "房子": "fluent-gradient",
    "full moon": "fluent-3d",
    "sailboat": "noto",
    "树": "twemoji",
    "umbrella": "fluent-3d",
    "鱼": "fluent-flat",
    "rose": "noto",
    "山": "emojione",
    "wine glass": "fluent-3d",
    "鸟": "noto",
    "star": "fluent-3d",
    "时钟": "icon-park-outline",
    "笑脸": "fluent-3d",
    "book": "fluent-gradient",
}

if __name__ == "__main__":
    painter = miaobi.load("painter")
    drawn = []
    for prompt, style in PROMPTS.items():
        for content in painter.generate(prompt, style=style, n=2, seed=1):
            (picture,) = content.parts
            assert isinstance(picture, Media)
            drawn.append(decode(picture.data))
    Path(__file__).with_suffix(".png").write_bytes(encode(contact_sheet(drawn, columns=8, size=96)))
