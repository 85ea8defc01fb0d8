"""SVG drawings as pixels through resvg, after what could read files, hang or overflow a stack has been refused.

resvg opens files that `<image>` names, recurses as deep as elements nest, and follows every reference, so ten lines can stand for a
billion shapes. A drawing is therefore parsed and weighed first: what it would be with every reference written out, those of its style
sheets as well. What may still take long (a filter over many pixels) is bounded by the size that is drawn; `data.worker` bounds time and
memory as well.
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from collections.abc import Iterator
from xml.etree import ElementTree

from miaobi.core.errors import DataError, MissingExtra, UsageError
from miaobi.data import pictures
from miaobi.data.pictures import Limits, Pixels

MOST_LETTERS = 4 << 20
MOST_ELEMENTS = 100_000  # with every reference written out
OCTAVE = 100  # elements that an octave of noise counts as; beyond the eighth nobody sees one
LAYER = 100  # elements that a canvas of its own counts as
_LAYERS = ("mask", "filter", "pattern", "clipPath")  # what is drawn on one, anew each time that it is referred to
MOST_DEPTH = 100  # resvg overflows its stack at about a thousand
MOST_SIDE = 2048
_EMBEDDED = Limits(num_bytes=4 << 20, num_pixels=4_000_000, formats=("PNG", "JPEG", "WEBP", "GIF"))
_REFERENCE = re.compile(r"url\(\s*[\"']?\s*#([^)\"']+)")
_DECLARES = re.compile(r"<!ENTITY|<!DOCTYPE[^>\[]*\[", re.IGNORECASE)
_RULE = re.compile(r"([^{}]*)\{([^{}]*)\}")  # selectors and declarations
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")
_NAMED = ("href", "{http://www.w3.org/1999/xlink}href")


def render(text: str | bytes, size: tuple[int, int], *, colour: str = "") -> Pixels:
    """The drawing fitted in a box of `size` (width, height), on nothing; `colour` is what `currentColor` means, black when empty.

    Raises:
        DataError: no SVG, or one that refers to files, declares entities, or is too large to draw.
        UsageError: a size or a colour that is none.
        MissingExtra: resvg-py is not installed.
    """
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra("drawing SVG", "image", "resvg-py") from None
    if not (1 <= size[0] <= MOST_SIDE and 1 <= size[1] <= MOST_SIDE):
        raise UsageError(
            "an SVG is drawn at 1 to {most} pixels a side, not {width} by {height}", most=MOST_SIDE, width=size[0], height=size[1]
        )
    drawing = checked(text)
    style = "svg {{ color: #{:02x}{:02x}{:02x} }}".format(*pictures.colour(colour)) if colour else None
    try:
        png = resvg_py.svg_to_bytes(svg_string=drawing, width=size[0], height=size[1], style_sheet=style, skip_system_fonts=True)
    except ValueError as error:
        raise DataError("the SVG cannot be drawn ({problem})", problem=error) from None
    return pictures.fit(pictures.decode(png), size)


def checked(text: str | bytes) -> str:
    """The drawing as text, when it is safe to draw.

    Raises:
        DataError: see `render`.
    """
    drawing = _text(text)
    if len(drawing) > MOST_LETTERS:
        raise DataError("the SVG has {letters} letters; at most {most} are read", letters=len(drawing), most=MOST_LETTERS)
    if _DECLARES.search(drawing):
        raise DataError("the SVG declares entities, which are refused")
    try:
        root = ElementTree.fromstring(drawing)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError("the SVG is damaged ({problem})", problem=error) from None
    if _tag(root) != "svg":
        raise DataError("this is no SVG: its root is <{tag}>", tag=_tag(root)[:40])
    _Weight(root).of(root)
    return drawing


def _text(data: str | bytes) -> str:
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise DataError("the SVG is not {encoding} text", encoding=encoding) from None


class _Weight:
    """How many elements a drawing has when every reference is written out, each subtree counted once."""

    def __init__(self, root: ElementTree.Element) -> None:
        self._named = {element.get("id"): element for element in root.iter() if element.get("id")}
        self._known: dict[ElementTree.Element, int] = {}
        sheets = [_COMMENT.sub(" ", "".join(element.itertext())) for element in root.iter() if _tag(element) == "style"]
        rules = [found for sheet in sheets for found in _RULE.findall(sheet)]
        self._rules = [(_Selectors(selectors), names) for selectors, body in rules if (names := _REFERENCE.findall(body))]

    def of(self, element: ElementTree.Element, depth: int = 0) -> int:
        """The weight of a subtree; an element that refers to itself weighs nothing the second time, as resvg cuts such loops."""
        if element in self._known:
            return self._known[element]
        if depth > MOST_DEPTH:
            raise DataError("the SVG is nested too deeply; at most {most} levels are drawn", most=MOST_DEPTH)
        self._known[element] = 0
        weight = _cost(element) + sum(self.of(child, depth + 1) for child in element)
        for name in (*_references(element), *self._styled(element)):
            target = self._named.get(name)
            if target is not None:
                weight += self.of(target, depth + 1) + (LAYER if _tag(target) in _LAYERS else 0)
        if weight > MOST_ELEMENTS:
            raise DataError("the SVG has too many elements; at most {most} are drawn", most=MOST_ELEMENTS)
        self._known[element] = weight
        return weight

    def _styled(self, element: ElementTree.Element) -> Iterator[str]:
        """The ids that style sheets make an element refer to."""
        for selectors, names in self._rules:
            if selectors.may_match(element):
                yield from names


class _Selectors:
    """The selectors of a rule, read so that none is missed: of each its last part counts, and of that names alone."""

    def __init__(self, text: str) -> None:
        lasts = [re.split(r"[\s>+~]+", selector.strip())[-1] for selector in text.split(",")]
        self._all = not {"\\", "(", "["}.isdisjoint(text)  # escapes, functions and attributes may stand for anything
        self._parts = [re.findall(r"[.#]?[\w-]+", re.sub(r"::?[\w-]+", "", last)) for last in lasts]

    def may_match(self, element: ElementTree.Element) -> bool:
        """Whether the rule may be for this element."""
        own = {_tag(element), f"#{element.get('id', '')}", *(f".{name}" for name in element.get("class", "").split())}
        return self._all or any(own.issuperset(part) for part in self._parts)


def _tag(element: ElementTree.Element) -> str:
    """The name without its namespace; comments have none."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _cost(element: ElementTree.Element) -> int:
    """What an element weighs by itself: a shape 1; noise by its octaves and a convolution by its matrix, which few letters make endless."""
    tag = _tag(element)
    if tag == "feTurbulence":
        return 1 + int(min(MOST_ELEMENTS, OCTAVE * max(_numbers(element.get("numOctaves", "")))))
    if tag == "feConvolveMatrix":
        sides = _numbers(element.get("order", ""))
        return 1 + int(min(MOST_ELEMENTS, sides[0] * sides[-1]))
    return 1


def _numbers(text: str) -> list[float]:
    """The numbers of an attribute, none below 0; 0 where it holds none."""
    return [abs(float(number)) for number in _NUMBER.findall(text)] or [0.0]


def _references(element: ElementTree.Element) -> Iterator[str]:
    """The ids that an element refers to; whatever leads out of the drawing is refused."""
    tag = _tag(element)
    for key, value in element.attrib.items():
        if key in _NAMED and tag not in ("a", "script"):
            target = value.strip()
            if target.startswith("#"):
                yield target[1:]
            elif target:
                _embedded(target)
        elif "url(" in value:
            yield from _REFERENCE.findall(value)


def _embedded(target: str) -> None:
    """Let a `data:` URL pass that holds a picture of modest size."""
    head, comma, body = target.partition(",")
    if not head.startswith("data:") or not comma:
        raise DataError("the SVG refers to {target}; references to other files are refused", target=target[:80])
    try:
        data = base64.b64decode(body) if head.endswith(";base64") else urllib.parse.unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        raise DataError("the SVG holds a damaged picture") from None
    pictures.picture_size(data, limits=_EMBEDDED)
