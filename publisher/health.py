"""Health of a part of the service: what keeps it from its work, how often that was so, and who leads.

A failure is noted here, in one place for `/readyz`, the metrics and the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from registry.concurrency.outage import Outage

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge
    from prometheus_client.core import GaugeMetricFamily

Role = Literal["starting", "standby", "leader", "elsewhere"]
"""`elsewhere`: another process does this."""


class Health:
    """The last error of one part, also as Prometheus metrics in `registry`; their names begin with imi_`part`_."""

    def __init__(
        self,
        part: str,
        registry: CollectorRegistry,
        *,
        interruptions: str = "Times this had to wait for a server",
        consequence: str = "",
    ) -> None:
        """`interruptions` tells what that metric counts; `consequence` stands before an error."""
        self.part = part
        self.registry = registry
        self.interrupted = 0
        self.crashed = 0
        self._consequence = consequence
        self._last_error: str | None = None
        self.outage = Outage(part)
        self._interruptions = self._counter("interruptions", interruptions)
        self._crashes = self._counter("crashes", "Times this was started again after an error that is a bug")

    def problems(self) -> list[str]:
        """What keeps this part from doing its work, one sentence each; none when it is well."""
        return [] if self._last_error is None else [f"{self._consequence}{self._last_error}"]

    def notes(self) -> list[str]:
        """What somebody should look at although this part does its work."""
        return []

    def to_do(self) -> str:
        """What somebody should do about it, where this part knows; else empty."""
        return ""

    def facts(self) -> dict[str, str]:
        """What the status page shows beside that, by name."""
        return {}

    def well(self) -> None:
        """Note that everything this part does works."""
        self._last_error = None
        self.outage.over()

    def failed(self, error: Exception, event: str = "") -> None:
        """Note what interrupts this part's work; `event` says so in the log, or else `PART interrupted`."""
        self.interrupted += 1
        self._interruptions.inc()
        self._last_error = str(error)
        self.outage.failed(error, event)
        self.forget()

    def crashes(self, error: Exception) -> None:
        """Note an error that nobody foresaw."""
        self.crashed += 1
        self._crashes.inc()
        self.outage.failed(error, is_bug=True)
        self._last_error = f"the {self.part} failed, see the log: {type(error).__name__}: {error}".removesuffix(": ")
        self.forget()

    def forget(self) -> None:
        """Called when this part cannot do its work: what it found before is not told as if it were so now."""

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        from prometheus_client import Counter

        return Counter(f"imi_{self.part}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        from prometheus_client import Gauge

        return Gauge(f"imi_{self.part}_{name}", text, registry=self.registry)

    def _level(self, name: str, text: str, value: Callable[[], float | None]) -> None:
        """A gauge of what `value` returns whenever it is asked; absent while that is None, and never what it was."""
        from prometheus_client.core import GaugeMetricFamily
        from prometheus_client.registry import Collector

        class Level(Collector):
            def collect(self) -> Iterator[GaugeMetricFamily]:
                if (found := value()) is not None:
                    yield GaugeMetricFamily(full_name, text, found)

        full_name = f"imi_{self.part}_{name}"
        self.registry.register(Level())


class LeadHealth(Health):
    """Health of a part that leads or stands by."""

    def __init__(
        self, part: str, registry: CollectorRegistry, *, leader: str, interruptions: str, consequence: str = ""
    ) -> None:
        """`leader` tells what that metric counts; the rest is as for `Health`."""
        super().__init__(part, registry, interruptions=interruptions, consequence=consequence)
        self.role: Role = "starting"
        self._leading = self._gauge("leader", leader)

    def problems(self) -> list[str]:
        """What keeps this part from doing its work, one sentence each; none when it is well."""
        found = [f"the {self.part} neither leads nor stands by yet"] if self.role == "starting" else []
        return found + super().problems()

    def became(self, role: Role) -> None:
        """Note the role this part has now."""
        if role not in (self.role, "starting"):
            self.well()
        self.role = role
        self._leading.set(role == "leader")
