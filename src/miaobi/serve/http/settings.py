"""What a server is told when it starts: one frozen value that the house, the pool and the routes read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to serve. Sizes are bytes, times are seconds; an empty or zero limit says what it means instead."""

    host: str = "127.0.0.1"
    port: int = 8000

    models: tuple[str, ...] = ()
    """Names that are served; empty: every model that is on this machine."""
    keep: tuple[str, ...] = ()
    """Models that are loaded at once and never evicted."""
    device: str = "cpu"
    threads: int = 0
    """Of one worker; 0: as many as it likes."""
    workers: int = 0
    """Processes that hold models; 0: the pool chooses."""
    memory_bytes: int = 0
    """What loaded models may take together; 0: the pool measures the machine."""
    queue: int = 64
    """Requests that may wait; more are told to come back later."""
    library: str = ""
    """A folder or a database's URL; empty: in the home folder."""

    keys: Path | None = None
    """The file of keys; None: the one in the home folder."""
    hosts: tuple[str, ...] = ()
    """Names under which clients may address this server, beside its own address."""
    origins: tuple[str, ...] = ()
    """Web pages of other servers that may call this one (CORS); `*` is any, and needs keys."""
    media_hosts: tuple[str, ...] = ()
    """Servers from which an `image_url` or `audio_url` may be fetched; empty: only `data:` URLs."""
    proxies: tuple[str, ...] = ()
    """Addresses of reverse proxies whose word about the client's address counts."""

    requests_per_minute: int = 0
    """Of one key, or of one address where there are no keys; 0: no limit."""
    body_bytes: int = 32 << 20
    upload_bytes: int = 256 << 20
    """Of a multipart body, which carries files."""
    json_depth: int = 64
    json_values: int = 400_000
    """JSON is read in one go, during which all others wait: so many values take some 50 ms."""
    header_seconds: float = 10.0
    """How long a client may take to send the head of a request."""
    body_seconds: float = 60.0
    """How long a client may take to send a body of `body_bytes`; an upload takes as much longer as it is larger."""
    connections: int = 1000
    heartbeat_seconds: float = 15.0
    """A stream that has nothing to say says so this often, so that no proxy takes it for dead."""
    grace_seconds: float = 20.0
    """How long requests under way may go on when the server is told to stop."""

    log: str = "json"
    """`json`, `text` or `off`."""
    log_prompts: bool = False
    certificate: Path | None = None
    certificate_key: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK
