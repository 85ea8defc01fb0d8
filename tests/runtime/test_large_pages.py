"""Memory in large pages: the same bytes, counted by the kernel, and only where they fill them."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import pytest

from miaobi.models.common import large_pages


def large_bytes() -> int:
    """What of this process lies in large pages."""
    found = re.search(r"AnonHugePages:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())
    return int(found[1]) * 1024 if found else 0


def test_what_was_taken_moves_and_stays_the_same() -> None:
    size = large_pages.page_bytes()
    if not 0 < size <= 4 << 20:
        pytest.skip("this machine has no large pages, or huge ones")
    before, large = large_pages.private_memory(), large_bytes()
    block = b"weights." * (2 * size)  # 16 large pages, of which the first and the last may be cut
    moved = large_pages.move(large_pages.without(large_pages.private_memory(), before), size)
    if not moved:
        pytest.skip("this kernel makes no large pages at once, or has none left")
    assert 8 * size <= moved <= 16 * size
    assert large_bytes() - large >= 8 * size
    assert block == b"weights." * (2 * size)


def test_empty_memory_stays_empty() -> None:
    size = large_pages.page_bytes()
    if not 0 < size <= 4 << 20:
        pytest.skip("this machine has no large pages, or huge ones")
    before = large_pages.private_memory()
    block = mmap.mmap(-1, 16 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # not written to: nothing is there yet
    assert large_pages.move(large_pages.without(large_pages.private_memory(), before), size) == 0
    block.close()


def test_ranges_without_others() -> None:
    assert large_pages.without([(0, 10), (20, 30)], []) == [(0, 10), (20, 30)]
    assert large_pages.without([(0, 10), (20, 30)], [(0, 10), (22, 24), (26, 40)]) == [(20, 22), (24, 26)]
    assert large_pages.without([(0, 10)], [(3, 4), (5, 10)]) == [(0, 3), (4, 5)]


def test_no_large_pages_where_the_administrator_wants_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "SETTINGS", tmp_path)
    assert large_pages.page_bytes() == 0, "no such setting"
    (tmp_path / "hpage_pmd_size").write_text("2097152\n")
    for setting in ("always madvise [never]\n", "always [madvise] never\n"):
        (tmp_path / "enabled").write_text(setting)
        assert large_pages.page_bytes() == (0 if "[never]" in setting else 2 << 20)
