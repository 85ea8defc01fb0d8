"""SVG is drawn as it should be, and what could read files, hang or crash is refused."""

from __future__ import annotations

import base64

import numpy as np
import pytest

pytest.importorskip("resvg_py")

from miaobi.core.errors import DataError, UsageError
from miaobi.data.drawings import MOST_LETTERS
from miaobi.data.pictures import encode, render_svg

OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 10">'
RECTANGLE = '<rect width="10" height="10" fill="currentColor"/>'


def test_drawn_at_the_size_that_is_asked_for() -> None:
    assert (render_svg(f"{OPEN}{RECTANGLE}</svg>", 8) == [0, 0, 0, 255]).all()
    wide = render_svg(f"{OPEN}{RECTANGLE}</svg>".replace("0 0 10 10", "0 0 20 10"), 8)
    assert wide.shape == (8, 8, 4)
    assert (wide[:2, :, 3] == 0).all()
    assert render_svg(f"{OPEN}{RECTANGLE}</svg>", (6, 4)).shape == (4, 6, 4)


def test_the_colour_of_drawings_of_one_colour() -> None:
    assert (render_svg(f"{OPEN}{RECTANGLE}</svg>", 4, colour="#ff8000") == [255, 128, 0, 255]).all()
    with pytest.raises(UsageError, match="unknown colour"):
        render_svg(f"{OPEN}{RECTANGLE}</svg>", 4, colour="reddish")


@pytest.mark.parametrize("size", [0, 5000])
def test_sizes_that_are_none(size: int) -> None:
    with pytest.raises(UsageError, match="1 to 2048 pixels"):
        render_svg(f"{OPEN}{RECTANGLE}</svg>", size)


def test_bytes_in_any_unicode_encoding() -> None:
    text = f"{OPEN}<title>猫</title>{RECTANGLE}</svg>"
    expected = render_svg(text, 4)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert (render_svg(text.encode(encoding), 4) == expected).all(), encoding
    with pytest.raises(DataError, match="utf-8"):
        render_svg(text.replace("猫", "图标").encode("gb18030"), 4)


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "file:///etc/passwd", "http://example.com/a.png", "../a.png", "data:image/png;base64,!!!", "data:image/svg+xml,<svg/>"],
)
def test_references_to_other_files_are_refused(target: str) -> None:
    for attribute in ("href", "xlink:href"):
        with pytest.raises(DataError):
            render_svg(f"{OPEN}<image {attribute}='{target.replace('<', '&lt;')}' width='10' height='10'/></svg>", 4)


def test_an_embedded_picture_of_modest_size_is_drawn() -> None:
    data = base64.b64encode(encode(np.full((4, 4, 3), 200, np.uint8))).decode()
    drawn = render_svg(f'{OPEN}<image href="data:image/png;base64,{data}" width="10" height="10"/></svg>', 4)
    assert (drawn == [200, 200, 200, 255]).all()


def test_entities_are_refused() -> None:
    levels = "".join('<!ENTITY l{} "{}">'.format(n, f"&l{n - 1};" * 10) for n in range(1, 12))
    bomb = f'<!DOCTYPE svg [<!ENTITY l0 "ha">{levels}]>{OPEN}<text>&l11;</text></svg>'
    outside = f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>{OPEN}<text>&x;</text></svg>'
    for text in (bomb, outside):
        with pytest.raises(DataError, match="declares entities"):
            render_svg(text, 4)


def test_a_plain_doctype_is_no_harm() -> None:
    doctype = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    assert (render_svg(f'<?xml version="1.0" encoding="UTF-8"?>{doctype}{OPEN}{RECTANGLE}</svg>', 4)[..., 3] == 255).all()


def test_references_that_multiply_are_counted_before_they_are_drawn() -> None:
    def level(number: int, opening: str, inner: str, closing: str) -> str:
        return opening.format(number) + inner.format(number + 1) * 10 + closing

    uses = "".join(level(n, '<g id="x{}">', '<use href="#x{}"/>', "</g>") for n in range(12))
    filled = '<rect width="1" height="1" style="fill:url(#x{})"/>'
    patterns = "".join(level(n, '<pattern id="x{}" width="1" height="1">', filled, "</pattern>") for n in range(12))
    for bomb in (uses, patterns + '<rect width="9" height="9" fill="url(#x0)"/>'):
        with pytest.raises(DataError, match="too many elements"):
            render_svg(f'{OPEN}{bomb}<rect id="x12" width="1" height="1"/></svg>', 4)


@pytest.mark.parametrize(
    "selector", [".c{}", "rect.c{}", "g > [x] .c{}:first-child", "/* } */ .z, .c{}", ".\\63 {}", ":is(.c{})", '[class="c{}"]', "*"]
)
@pytest.mark.parametrize("kind", ["pattern", "mask"])
def test_references_in_style_sheets_multiply_as_well(selector: str, kind: str) -> None:
    uses = "fill" if kind == "pattern" else "mask"
    inner = "".join(f'<{kind} id="x{n}">' + f'<rect class="c{n + 1}" width="9" height="9"/>' * 10 + f"</{kind}>" for n in range(12))
    rules = "".join(f"{selector.replace('{}', str(n))} {{ {uses}: url( '#x{n}' ) }}" for n in range(12))
    drawing = f'{OPEN}<style>{rules}</style>{inner}<rect class="c0" width="9" height="9"/></svg>'
    with pytest.raises(DataError, match="too many elements"):
        render_svg(drawing, 4)


def test_a_style_sheet_of_an_icon_is_drawn() -> None:
    rules = ".a{fill:url(#g)} .b{fill:#f00}"
    gradient = '<linearGradient id="g"><stop stop-color="#00f"/></linearGradient>'
    drawing = f"{OPEN}<style>{rules}</style>{gradient}" + '<rect class="a" width="5" height="10"/>' * 900 + "</svg>"
    assert render_svg(drawing, 4)[0, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("noise", ['numOctaves="10000000"', 'numOctaves=" 1e9 "', 'numOctaves="+2000"'])
def test_endless_noise_is_refused(noise: str) -> None:
    filter_ = f'<filter id="f"><feTurbulence baseFrequency="0.5" {noise}/></filter>'
    drawing = f'{OPEN}{filter_}<rect width="9" height="9" filter="url(#f)"/></svg>'
    with pytest.raises(DataError, match="too many elements"):
        render_svg(drawing, 16)
    assert render_svg(drawing.replace(noise, 'numOctaves="5"'), 16)[..., 3].any()


def test_depth_that_would_overflow_the_renderers_stack() -> None:
    for depth in (200, 20_000):
        with pytest.raises(DataError, match="nested too deeply"):
            render_svg(OPEN + "<g opacity='.5'>" * depth + RECTANGLE + "</g>" * depth + "</svg>", 4)
    chain = "".join(f'<g id="c{n}"><use href="#c{n + 1}"/></g>' for n in range(300))
    with pytest.raises(DataError, match="nested too deeply"):
        render_svg(f"{OPEN}{chain}</svg>", 4)


def test_a_drawing_that_refers_to_itself_ends() -> None:
    assert render_svg(f'{OPEN}<g id="a"><use href="#a"/>{RECTANGLE}</g></svg>', 4).shape == (4, 4, 4)


@pytest.mark.parametrize("text", ["", "<svg", "<html/>", "plain", OPEN])
def test_what_is_no_drawing(text: str) -> None:
    with pytest.raises(DataError):
        render_svg(text, 4)


def test_a_drawing_too_long_to_parse() -> None:
    with pytest.raises(DataError, match="letters"):
        render_svg(OPEN + " " * (MOST_LETTERS + 1) + "</svg>", 4)


def test_huge_sizes_are_only_numbers() -> None:
    huge = '<svg xmlns="http://www.w3.org/2000/svg" width="1e7" height="1e7" viewBox="0 0 1e7 1e7"><rect width="1e7" height="1e7"/></svg>'
    assert (render_svg(huge, 4)[..., 3] == 255).all()
