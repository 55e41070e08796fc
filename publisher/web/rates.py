"""How often somebody may do something: so many times at once, then one more each so many seconds."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from math import ceil
from time import monotonic

from registry.authority import address_of

MOST_KNOWN = 10_000
"""Of those who did something lately; one who did nothing for long is known no more anyway."""
OWN_BITS = 64
"""Of an IPv6 address, the others are a machine's own to choose."""


def counted_as(address: str) -> str:
    """Who somebody at `address` is: of IPv6 the network, since one machine has all of its addresses.

    A proxy may say something else than an address, as `unknown`: those are one.
    """
    found = address_of(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), OWN_BITS), strict=False))
    return "" if found is None else str(found)


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
