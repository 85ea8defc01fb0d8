"""How much one caller may ask: requests a minute, tokens a minute, requests at once. Buckets fill up as time goes by.

Tokens are known only when they are made, so they are owed: a bucket may go below nothing, and lets nobody in until it is above again.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from miaobi.serve.http.errors import Denied
from miaobi.serve.http.keys import Caller

MOST_CALLERS = 10_000  # the one who was silent longest is forgotten


@dataclass(slots=True)
class Bucket:
    """Holds up to a minute's worth and gets it back in a minute."""

    size: float
    level: float
    seen: float

    def fill(self, now: float) -> None:
        """What time has brought since it was last looked at."""
        self.level = min(self.size, self.level + (now - self.seen) * self.size / 60)
        self.seen = now

    def wait(self, wanted: float) -> float:
        """Seconds until it holds that much."""
        return max(0.0, (wanted - self.level) * 60 / self.size)


@dataclass(slots=True)
class _Account:
    running: int = 0
    requests: Bucket | None = None
    tokens: Bucket | None = None


@dataclass(slots=True)
class Limits:
    """The accounts of all callers, in memory: a restart forgives."""

    requests_per_minute: int = 0
    clock: Callable[[], float] = time.monotonic
    _accounts: OrderedDict[str, _Account] = field(default_factory=OrderedDict)

    @contextlib.contextmanager
    def admit(self, caller: Caller) -> Iterator[dict[str, str]]:
        """One request, from its beginning to its end; gives the headers that tell what is left.

        Raises:
            Denied: 429, with the seconds after which it is worth trying again.
        """
        account, now = self._account(caller), self.clock()
        for bucket, what in ((account.requests, 1.0), (account.tokens, 0.0)):
            if bucket is None:
                continue
            bucket.fill(now)
            if bucket.level < what or (not what and bucket.level <= 0):
                seconds = max(1.0, bucket.wait(what))
                raise Denied(
                    "too many requests in a minute. Try again in {seconds} seconds", status=429, retry_after=seconds, seconds=round(seconds)
                )
        if caller.concurrent and account.running >= caller.concurrent:
            raise Denied(
                "{count} requests of this key are under way, more are not allowed", status=429, retry_after=1.0, count=account.running
            )
        if account.requests:
            account.requests.level -= 1
        account.running += 1
        try:
            yield _headers(account)
        finally:
            account.running -= 1

    def spend(self, caller: Caller, tokens: int) -> None:
        """Write down tokens that were read and made for the caller."""
        bucket = self._account(caller).tokens
        if bucket is not None:
            bucket.fill(self.clock())
            bucket.level -= tokens

    def _account(self, caller: Caller) -> _Account:
        account = self._accounts.get(caller.id)
        if account is None:
            account = self._accounts[caller.id] = _Account()
            self._forget()
        self._accounts.move_to_end(caller.id)
        account.requests = self._bucket(account.requests, caller.requests_per_minute or self.requests_per_minute)
        account.tokens = self._bucket(account.tokens, caller.tokens_per_minute)
        return account

    def _bucket(self, bucket: Bucket | None, size: int) -> Bucket | None:
        """The bucket, or a full one where there was none of this size."""
        if not size:
            return None
        return bucket if bucket and bucket.size == size else Bucket(float(size), float(size), self.clock())

    def _forget(self) -> None:
        """Drop the account that was silent longest, but none with a request under way."""
        if len(self._accounts) > MOST_CALLERS:
            silent = next((id for id, account in self._accounts.items() if not account.running), None)
            if silent is not None:
                del self._accounts[silent]


def _headers(account: _Account) -> dict[str, str]:
    """OpenAI's headers of what is left."""
    headers = {}
    for bucket, name in ((account.requests, "requests"), (account.tokens, "tokens")):
        if bucket:
            headers[f"x-ratelimit-limit-{name}"] = str(int(bucket.size))
            headers[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.level)))
    return headers
