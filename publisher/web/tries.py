"""Wrong tokens, counted by address and of all."""

from __future__ import annotations

from publisher.web.rates import Rate, counted_as
from registry.log import log

OF_ONE, OF_ALL = (10, 6.0), (30, 2.0)
"""So many at once, then one each so many seconds. Of all, since one person may have many addresses, or name another one
each time, as an account of the machine does whose own address `http_proxies` has."""
TOLD_SECONDS = 60.0


class Tries:
    """The wrong tokens of a service.

    The right token is none of them, and passes whatever others do: a limit that held for it, too, would be a lock that
    anybody closes. So what keeps a token from being guessed is its length, not this: of one with 16 hexadecimal digits
    half would be tried in 290 million years, at 1,000 a second. The limits let a wrong one, which takes the place of a
    page for half a second, take no more of them, and tell of who goes on.
    """

    def __init__(self) -> None:
        self._of_one = Rate(*OF_ONE)
        self._of_all = Rate(*OF_ALL)
        self._told = Rate(1, TOLD_SECONDS)

    def wait_seconds(self, address: str) -> int:
        """Count a wrong token: 0, or how long its sender is told to wait."""
        seconds = self._of_one.wait_seconds(counted_as(address))
        if not seconds:
            seconds = self._of_all.wait_seconds("")
            if seconds and not self._told.wait_seconds(""):
                log.warning("too many wrong tokens", address=address)
        return seconds
