"""Every public name loads on first use, and naming a thing costs nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import miaobi

HEAVY = ("torch", "numpy", "pydantic", "tqdm", "onnxruntime", "yaml", "tokenizers", "transformers")


def heavy_after(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after `code`."""
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import miaobi",
        "import miaobi; miaobi.load; miaobi.Content; miaobi.MiaobiError",
        "import miaobi; miaobi.list_models()",
        "from miaobi.core.families import families; families()",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert heavy_after(code) == set()


def test_every_public_name_exists() -> None:
    for name in miaobi.__all__:
        assert getattr(miaobi, name) is not None
    assert set(miaobi.__all__) <= set(dir(miaobi))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = miaobi.lode
