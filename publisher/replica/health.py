"""What a replica tells of itself: how old it is, how far behind, why it does not follow."""

from __future__ import annotations

from functools import partial
from time import monotonic

from prometheus_client import CollectorRegistry, Histogram

from publisher.health import Health
from publisher.replica.state import OLD_SECONDS, ReplicaState
from publisher.replica.subscription import Subscription

COUNTED = {
    "behind_bytes": "WAL of the source that is not applied here",
    "uncopied_tables": "Tables whose initial copy is not complete",
    "running": "1 while PostgreSQL's worker applies what comes",
    "errors": "Errors that PostgreSQL counted while it copied or applied; from 15 on",
}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class ReplicaHealth(Health):
    """Health of a replica, and its metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__("replica", registry, consequence="the replica is not watched: ")
        self._state: ReplicaState | None = None
        self._stopped: str | None = None
        self._uncopied: str | None = None
        self._unfit: list[str] = []
        self._unheard: str | None = None
        self._known_at: float | None = None
        self._counted: dict[str, float | None] = {}
        """By name; what is not known is None, or not there."""
        for name, text in COUNTED.items():
            self._level(name, text, partial(self._counted.get, name))
        self._lag = Histogram(
            "imi_replica_lag_seconds",
            "From a commit in the source until it is in the replica",
            buckets=BUCKETS,
            registry=registry,
        )
        age = self._gauge("age_seconds", "Since when the replica may lack what was committed; -1 while it is not known")
        age.set_function(lambda: -1.0 if self.age_seconds is None else self.age_seconds)

    @property
    def age_seconds(self) -> float | None:
        """Since when it may lack something; None while that is not known."""
        return None if self._known_at is None else monotonic() - self._known_at

    def looked(self, state: ReplicaState, found: Subscription | None, stopped: str | None) -> None:
        """Note what the database says; `stopped` tells why nothing is applied."""
        self._state = state
        self._stopped = stopped
        self._uncopied = None
        if found is not None and found.uncopied:
            self._uncopied = f"the initial copy of {state.source} is under way: {found.copy_told}"
        self._counted["uncopied_tables"] = None if found is None else len(found.uncopied)
        self._counted["errors"] = None if found is None else found.apply_errors + found.copy_errors
        self._counted["running"] = found is not None and found.pid is not None
        if self._known_at is None and state.age_seconds is not None:
            self._known_at = monotonic() - state.age_seconds
        self.well()

    def heard(self, unfit: list[str], behind_bytes: int | None) -> None:
        """Note that the source answers, why this replica does not fit to it, and how far it is behind."""
        self._unheard = None
        self._unfit = unfit
        self._counted["behind_bytes"] = behind_bytes

    def unheard(self, error: Exception) -> None:
        """Note that the source does not answer."""
        self._unheard = str(error)
        self._counted["behind_bytes"] = None

    def forget(self) -> None:
        """Let go of what was looked at; how old the replica is, is known of it all the same."""
        self._stopped = self._uncopied = self._unheard = None
        self._unfit = []
        self._counted.clear()

    def complete(self, since_seconds: float) -> None:
        """Note that it has all that was committed so many seconds ago."""
        self._known_at = monotonic() - since_seconds
        self._lag.observe(since_seconds)

    def problems(self) -> list[str]:
        """What keeps it from being up to date, and how old it is."""
        found = [*super().problems(), *self._unfit]
        found += [text for text in (self._stopped, self._uncopied) if text is not None]
        age = self.age_seconds
        if age is not None and age > OLD_SECONDS and self._state is not None:
            found.append(f"the replica of {self._state.source} is {age:,.0f} s old")
        return found

    def notes(self) -> list[str]:
        """What somebody should look at although it is up to date."""
        if self._unheard is None or self._state is None:
            return []
        return [f"how old this replica is cannot be told, since {self._state.source} does not answer: {self._unheard}"]

    def facts(self) -> dict[str, str]:
        """Of which registry it is the replica, and how old."""
        if self._state is None:
            return {}
        age = self.age_seconds
        return {"Replica of": self._state.source, "Age": "unknown" if age is None else f"{age:,.1f} s"}
