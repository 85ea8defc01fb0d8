"""Files named by the hash of their bytes: written once, whole or not at all, shared by every content that has them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from miaobi.core.artifact import explain_os_errors, write_bytes
from miaobi.core.errors import DataError

YOUNG_SECONDS = 24 * 3600.0  # an unknown file of this age may belong to a content that is just being kept


class Files:
    """A folder of blobs, `ab/abcdef…`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Keep the bytes; returns their SHA-256. What is there already, whole, is not written again."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        with explain_os_errors(path):
            if path.is_file() and path.stat().st_size == len(data):
                path.touch()  # nobody may need it just now, and whoever sweeps is not to take it for left over
                return sha256
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes.

        Raises:
            DataError: they are not here, or not those that were kept.
        """
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise DataError("the library has lost the file {sha256}; bring it back from a backup", sha256=sha256) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataError("the library's file {sha256} is damaged; bring it back from a backup", sha256=sha256)
        return data

    def path(self, sha256: str) -> Path:
        """Where the bytes lie."""
        assert len(sha256) == 64
        return self.folder / sha256[:2] / sha256

    def sweep(self, known: Collection[str], *, older_than: float = YOUNG_SECONDS) -> tuple[int, int]:
        """Delete what nobody knows any more; returns how many files, and how many bytes."""
        count = size = 0
        for path in self._all():
            if path.name not in known and time.time() - path.stat().st_mtime >= older_than:
                size += path.stat().st_size
                path.unlink(missing_ok=True)
                count += 1
        return count, size

    def _all(self) -> Iterator[Path]:
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from sorted(path for path in folder.iterdir() if len(path.name) == 64)
