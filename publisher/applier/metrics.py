"""What the applier tells about itself: Prometheus metrics, and the same facts for the status page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry

from publisher.health import Health
from registry.commands import COMMANDS, Verdict
from registry.errors import RegistryError


class ApplierMetrics(Health):
    """Metrics of one applier, in the `registry` that an exporter renders."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(
            "applier",
            registry,
            leader="1 while this process takes commands",
            interruptions="Times the applier had to wait for a server",
            consequence="commands wait: ",
        )
        self.commands = 0
        self.dead_letters = 0
        """Those that this process has buried."""
        self.count_dead_letters: Callable[[], Awaitable[int]] | None = None
        """Asks the stream how many wait, while this applier is connected to it."""
        self._answered = self._counter("commands", "Commands answered", ("command", "verdict"))
        self._retries = self._counter("retries", "Times a command was tried again")
        self._buried = self._counter("dead_letters", "Messages stored as dead letters")

    async def waiting_dead_letters(self) -> int | None:
        """How many dead letters wait for somebody; None when the stream cannot be asked now."""
        if self.count_dead_letters is None:
            return None
        try:
            return await self.count_dead_letters()
        except RegistryError:
            return None

    def retried(self, error: Exception | None) -> None:
        """Note that a command is to be tried again; `error` when it was not the command's own fault."""
        self._retries.inc()
        if error is not None:
            self._last_error = str(error)

    def answered(self, name: str, verdict: Verdict) -> None:
        """Note an outcome. What senders make up for a name is counted as one."""
        self.commands += 1
        self.well()
        self._answered.labels(name if name in COMMANDS else "unknown", verdict).inc()

    def buried(self) -> None:
        """Note a dead letter."""
        self.dead_letters += 1
        self._buried.inc()
