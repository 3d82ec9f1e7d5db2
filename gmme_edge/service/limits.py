"""What a service refuses, and how it says so."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gmme_edge.errors import UsageError

_MOST_CLIENTS = 10_000  # whose rates are remembered


class RefusedError(UsageError):
    """A request that breaks a limit.

    Attributes:
        status: of HTTP.
        reason: one word for the metrics.
        retry_s: when it is worth to ask again; None: never.
    """

    def __init__(
        self, status: int, reason: str, got: str, expected: str, retry_s: int | None = None
    ) -> None:
        super().__init__(got, expected, "" if retry_s is None else f"try again in {retry_s} s.")
        self.status, self.reason, self.retry_s = status, reason, retry_s


class Slots:
    """At most so many at once; only an event loop's thread takes and returns them."""

    def __init__(self, most: int, what: str) -> None:
        self.used, self._most, self._what = 0, most, what

    @contextmanager
    def take(self) -> Iterator[None]:
        """One slot, while the block runs.

        Raises:
            RefusedError: all are taken.
        """
        if self.used >= self._most:
            raise RefusedError(
                429,
                "concurrency",
                f"The service has {self.used} {self._what} at once.",
                f"at most {self._most}.",
                1,
            )
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1


class RateLimiter:
    """A bucket of tokens for each client: one second's worth, refilled steadily.

    Args:
        per_s: how many requests a second; 0: any number.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._most, self._clock = per_s, max(1.0, per_s), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Count a request of `client`.

        Raises:
            RefusedError: it asks too often.
        """
        if not self._per_s:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._most, now))
        tokens = min(self._most, tokens + (now - since) * self._per_s)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RefusedError(
                429,
                "rate",
                f"{client or 'This client'} asks too often.",
                f"at most {self._per_s:g} requests a second.",
                max(1, round(1 / self._per_s)),
            )


def check_token(given: str, token: str) -> None:
    """Compare in a time that does not depend on what differs.

    Raises:
        RefusedError: it is not `token`; an empty `token` asks for none.
    """
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        raise RefusedError(
            401,
            "token",
            "The token is missing or wrong.",
            "the header `Authorization: Bearer …` with the service's token.",
        )
