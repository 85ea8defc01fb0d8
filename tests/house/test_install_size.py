"""Using is light: a fresh environment with the base install only stays small, and writes a poem.

Everything that `pip install` leaves is counted, the bytecode that it compiles included; pip itself and our own weights, which have a limit
of their own, are not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_BYTES = 250_000_000
WEIGHTS_BYTES = 100_000_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_base_install_is_small_and_writes(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        ROOT / "constraints.txt",
        ROOT,
    ]
    subprocess.run(install, check=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "freeze"], capture_output=True, text=True, check=True).stdout.lower()
    assert "torch==" not in listed
    assert "transformers==" not in listed
    (packages,) = environment.glob("lib/python3*/site-packages")
    came_with_the_environment = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}
    builtin = packages / "miaobi" / "builtin"
    files = [path for path in packages.rglob("*") if path.is_file() and not path.is_symlink()]
    weights = sum(path.stat().st_size for path in files if builtin in path.parents)
    whole = sum(path.stat().st_size for path in files if path.relative_to(packages).parts[0] not in came_with_the_environment)
    assert whole - weights <= LIMIT_BYTES, f"{(whole - weights) / 1e6:.0f} MB"
    assert 0 < weights <= WEIGHTS_BYTES, f"{weights / 1e6:.0f} MB"
    written = subprocess.run(
        [environment / "bin" / "miaobi", "generate", "poet", "中秋月夜", "--form", "七绝"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert written.stdout.rstrip().endswith("本内容由人工智能生成")
