"""The implicit label of GB 45438-2025: seven string keys in a fixed order, plain JSON, exactly one per file.

Values may use few code points (no space, no quote, no backslash, no Chinese), because the same JSON travels in XMP, RIFF and ID3 fields.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping

from miaobi.core.errors import UsageError

KEYS = ("Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2")
GENERATED, POSSIBLE, SUSPECTED = "1", "2", "3"
DEFAULT_PRODUCER = "miaobi"
_PERMITTED = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]*")


def producer() -> str:
    """Who answers for the content: `MIAOBI_PRODUCER` (a plain name, or the 27-character code of TC260-PG-20252A), else "miaobi".

    Raises:
        UsageError: the configured name has characters that the standard does not permit.
    """
    name = os.environ.get("MIAOBI_PRODUCER") or DEFAULT_PRODUCER
    if not permitted(name):
        raise UsageError(
            "MIAOBI_PRODUCER is '{name}': the labelling standard permits ASCII letters, digits and signs, "
            'without spaces, " and backslashes. Choose a plain name such as {example}',
            name=name,
            example=DEFAULT_PRODUCER,
        )
    return name


def permitted(value: str) -> bool:
    """Whether the standard permits the value's code points: 0x21, 0x23-0x5B, 0x5D-0x7E."""
    return _PERMITTED.fullmatch(value) is not None


def produce_id(content_sha256: str, request_sha256: str, index: int) -> str:
    """A name for one piece of content: 128 bits over what was made, what was asked and its number among several."""
    return hashlib.sha256(f"{content_sha256}/{request_sha256}/{index}".encode()).hexdigest()[:32]


def implicit(produce: str, *, by: str) -> dict[str, str]:
    """The seven keys at first writing, when the producer is also the first propagator."""
    values = (GENERATED, by, produce, "", by, produce, "")
    return dict(zip(KEYS, values, strict=True))


def parse(value: object) -> dict[str, str] | None:
    """The seven keys out of JSON text or a mapping, with or without the outer `AIGC`; None where that is no label."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping) and isinstance(value.get("AIGC"), Mapping | str):
        return parse(value["AIGC"])
    if not isinstance(value, Mapping) or "Label" not in value:
        return None
    return {key: str(value[key]) for key in KEYS if isinstance(value.get(key), str | int)}


def problems(label: Mapping[str, str]) -> list[str]:
    """The keys of an implicit label that break the standard: missing, or with code points that are not permitted."""
    missing = [key for key in KEYS if key not in label]
    wrong = [key for key, value in label.items() if not permitted(value)]
    return missing + wrong + (["Label"] if label.get("Label") not in (GENERATED, POSSIBLE, SUSPECTED) else [])
