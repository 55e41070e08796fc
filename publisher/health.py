"""Health of a part of the service that leads or stands by: its role, and the last error that kept it from its work."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client annotates it not

Role = Literal["starting", "standby", "leader"]


class Health:
    """Role and last error of one part, also as Prometheus metrics in `registry`; their names begin with imi_`part`_."""

    def __init__(
        self, part: str, registry: CollectorRegistry, *, leader: str, interruptions: str, consequence: str = ""
    ) -> None:
        """`leader` and `interruptions` tell what those metrics count; `consequence` stands before an error."""
        self.registry = registry
        self.role: Role = "starting"
        self.interrupted = 0
        self._part = part
        self._consequence = consequence
        self._last_error: str | None = None
        self._leading = self._gauge("leader", leader)
        self._interruptions = self._counter("interruptions", interruptions)

    def problems(self) -> list[str]:
        """What keeps this part from doing its work, one sentence each; none when it is well."""
        found = []
        if self.role == "starting":
            found.append(f"the {self._part} neither leads nor stands by yet")
        if self._last_error is not None:
            found.append(f"{self._consequence}{self._last_error}")
        return found

    def became(self, role: Role) -> None:
        """Note the role this part has now."""
        if role not in (self.role, "starting"):
            self.well()
        self.role = role
        self._leading.set(role == "leader")

    def well(self) -> None:
        """Note that everything this part does works."""
        self._last_error = None

    def failed(self, error: Exception) -> bool:
        """Note what interrupts this part's work, and tell whether that is news."""
        self.interrupted += 1
        self._interruptions.inc()
        is_news = self._last_error != str(error)
        self._last_error = str(error)
        return is_news

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"imi_{self._part}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"imi_{self._part}_{name}", text, registry=self.registry)
