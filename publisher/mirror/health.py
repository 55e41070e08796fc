"""What a mirror tells of itself: how old it is, how far, how often it needed a snapshot."""

from __future__ import annotations

from time import monotonic

from prometheus_client import CollectorRegistry, Histogram

from publisher.health import LeadHealth, Role
from publisher.mirror.state import OLD_SECONDS, MirrorState

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class MirrorHealth(LeadHealth):
    """Health of the follower, and its metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(
            "mirror",
            registry,
            leader="1 while this process follows the source",
            interruptions="Times the source was not followed, or not its publisher heard",
            consequence="the mirror is not kept up to date: ",
        )
        self._source = ""
        self._known_at: float | None = None
        self._unheard: str | None = None
        self._applied = self._counter("events", "Events of the source that were applied")
        self._snapshots = self._counter("snapshots", "Snapshots of the source that took the place of the rows")
        self._sequence: int | None = None
        self._level("sequence", "Of the last event of the source that is applied", lambda: self._sequence)
        self._lag = Histogram(
            "imi_mirror_lag_seconds",
            "From the change in the source until it is in the mirror",
            buckets=BUCKETS,
            registry=registry,
        )
        text = "Since when the mirror may lack what was published; -1 while it never had all"
        self._level("age_seconds", text, self._age_told)

    @property
    def age_seconds(self) -> float | None:
        """Since when it may lack something; None while it never had everything, as far as this process knows."""
        return None if self._known_at is None else monotonic() - self._known_at

    def _age_told(self) -> float | None:
        """As it is exported: not by who stands by, and does not see what the other does."""
        if self.role == "standby":
            return None
        return -1.0 if self.age_seconds is None else self.age_seconds

    def became(self, role: Role) -> None:
        """Note the role this process has now; who stands by knows nothing of how old the mirror is."""
        super().became(role)
        if role == "standby":
            self._source, self._sequence, self._known_at, self._unheard = "", None, None, None

    def begins(self, state: MirrorState) -> None:
        """Note what is known before anything is read."""
        self._source = state.source
        self._sequence = state.sequence
        if state.age_seconds is not None:
            self._known_at = monotonic() - state.age_seconds

    def applied(self, lags: list[float], sequence: int) -> None:
        """Note events, and how long ago each was made."""
        if not lags:
            return
        self._applied.inc(len(lags))
        self._sequence = sequence
        for lag in lags:
            self._lag.observe(max(lag, 0.0))

    def renewed(self, sequence: int) -> None:
        """Note a snapshot, and where it stands."""
        self._sequence = sequence
        self._snapshots.inc()

    def complete(self) -> None:
        """Note that it has all that is published now."""
        self._known_at = monotonic()
        self.well()

    def heard(self) -> None:
        """Note that a publisher of the source answers."""
        self._unheard = None

    def unheard(self, error: Exception) -> None:
        """Note that none does: events go on, but a restored source would not be noticed."""
        self._unheard = f"the publisher of the source cannot be asked whether it was restored from a backup: {error}"

    def problems(self) -> list[str]:
        """What keeps it from being up to date, and how old it is."""
        if self.role == "standby":
            return []
        age = self.age_seconds
        if age is None:
            old = [f"the mirror of {self._source} has not caught up yet"] if self._source else []
        else:
            old = [f"the mirror of {self._source} is {age:,.0f} s old"] if age > OLD_SECONDS else []
        return super().problems() + old

    def notes(self) -> list[str]:
        """What somebody should look at although it is up to date."""
        return [] if self._unheard is None else [self._unheard]

    def facts(self) -> dict[str, str]:
        """Of which registry it is the mirror, and how old."""
        if not self._source:
            return {}
        age = self.age_seconds
        return {"Mirror of": self._source, "Age": "unknown" if age is None else f"{age:,.1f} s"}
