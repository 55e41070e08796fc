"""How often somebody may do something: so many times at once, then one more each so many seconds."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from time import monotonic

MOST_KNOWN = 10_000
"""Of those who did something lately; one who did nothing for long is known no more anyway."""


class Rate:
    """Counts what each of many does."""

    def __init__(self, at_once: int, seconds_each: float, clock: Callable[[], float] = monotonic) -> None:
        self._room_seconds = at_once * seconds_each
        self._each_seconds = seconds_each
        self._clock = clock
        self._full_until: dict[str, float] = {}
        """When what each did is forgotten."""

    def wait_seconds(self, who: str) -> int:
        """0, and it counts; or how long to wait until `who` may do it once more."""
        now = self._clock()
        until = max(self._full_until.get(who, now), now) + self._each_seconds
        beyond = until - now - self._room_seconds
        if beyond > 0:
            return ceil(beyond)
        if len(self._full_until) >= MOST_KNOWN:
            self._full_until = {one: when for one, when in self._full_until.items() if when > now}
        if len(self._full_until) < MOST_KNOWN or who in self._full_until:
            self._full_until[who] = until
        return 0

    def took_back(self, who: str) -> None:
        """What `who` did last does not count."""
        if who in self._full_until:
            self._full_until[who] -= self._each_seconds
