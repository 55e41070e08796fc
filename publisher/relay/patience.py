"""How long a standby bears a leader that says it cannot publish, before it tries to do better."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

BEARING_SECONDS = (1.0, 60.0)
"""First and longest. Doubled each time the lead was taken for this, since the next leader may meet the same: a full
stream, or a NATS that takes seconds for each batch."""
WELL_SECONDS = 10.0
"""So long after it last saw a leader hindered, the first holds again. What this one led itself counts, too."""


class Patience:
    """Of one standby."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """`now` is a clock in seconds."""
        self._now = now
        self.seconds = BEARING_SECONDS[0]
        """How long a hindered leader is borne."""
        self._hindered_since: float | None = None
        self._well_since = now()

    def begins(self) -> None:
        """Note that this process stands by from now on."""
        self._hindered_since = None

    def is_over(self, *, is_hindered: bool) -> bool:
        """Note what the leader says now; returns whether it has said for too long that something hinders it."""
        now = self._now()
        if not is_hindered:
            self._hindered_since = None
            if now - self._well_since >= WELL_SECONDS:
                self.seconds = BEARING_SECONDS[0]
            return False
        self._well_since = now
        if self._hindered_since is None:
            self._hindered_since = now
        return now - self._hindered_since >= self.seconds

    def took_over(self) -> None:
        """Note that this process takes the lead for it."""
        self._hindered_since = None
        self.seconds = min(2 * self.seconds, BEARING_SECONDS[1])
