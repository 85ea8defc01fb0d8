"""The one XMP packet of a picture file: the implicit label of GB 45438-2025, IPTC's digital source type, and our own label.

It is RDF/XML (ISO 16684-1). Packets from outside are not trusted: no document type, no entities, a bounded size, and only the values
that are looked for are taken out.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from miaobi.core.types import NOTHING
from miaobi.trust import aigc
from miaobi.trust.formats import json_line, json_mapping

TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
MIAOBI = "urn:miaobi:label:1/"
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MAX_BYTES = 4 << 20  # of a packet that is read
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:TC260="{tc260}" xmlns:Iptc4xmpExt="{iptc}" xmlns:miaobi="{miaobi}">
   <TC260:AIGC>{aigc}</TC260:AIGC>
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <miaobi:label>{label}</miaobi:label>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the packets of a file say. `count` is how many implicit labels there are; there should be one."""

    implicit: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    label: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    source_type: str = ""
    count: int = 0


def encode(implicit: Mapping[str, str], label: Mapping[str, Any]) -> bytes:
    """The packet. The implicit label stands in it as plain JSON without an outer `AIGC`, as the standard wants it in XMP."""
    values = {
        "aigc": json.dumps(dict(implicit), separators=(",", ":")),
        "source": GENERATED,
        "label": json_line(label),
        "tc260": TC260,
        "iptc": IPTC,
        "miaobi": MIAOBI,
    }
    return _PACKET.format(**{name: escape(value) for name, value in values.items()}).encode()


def decode(packets: Sequence[bytes]) -> Found:
    """What the packets say, the first value of each kind; a packet that is no XMP says nothing."""
    values: dict[str, list[str]] = {TC260 + "AIGC": [], IPTC + "DigitalSourceType": [], MIAOBI + "label": []}
    for packet in packets:
        for name, text in _properties(packet, values.keys()):
            values[name].append(text)
    labels, source, own = values.values()
    return Found(
        implicit=next(filter(None, map(aigc.parse, labels)), NOTHING),
        label=json_mapping(own[0]) if own else NOTHING,
        source_type=source[0].strip() if source else "",
        count=len(labels),
    )


def _properties(packet: bytes, wanted: Container[str]) -> Iterator[tuple[str, str]]:
    """Name (namespace and word) and text of the wanted elements and attributes; both are ways to write a property in RDF."""
    if len(packet) > MAX_BYTES:
        return
    try:
        text = packet.decode("utf-8-sig").strip("\0 \t\r\n")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:  # a few lines of entities can stand for a billion letters
            return
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        return
    for element in root.iter():
        if (name := _plain(element.tag)) in wanted:
            words = (element.text or "").strip() or element.findtext("*/*") or ""  # the second: the first item of a list
            yield name, words
        yield from ((_plain(name), value) for name, value in element.attrib.items() if _plain(name) in wanted)


def _plain(name: str) -> str:
    """ElementTree's `{namespace}word` as namespace and word in one."""
    return name[1:].replace("}", "", 1) if name.startswith("{") else name
