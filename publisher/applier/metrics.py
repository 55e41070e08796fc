"""What the applier tells about itself: Prometheus metrics, and the same facts for the status page."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry, Histogram

from publisher.health import LeadHealth, Role
from registry import commands
from registry.commands import Verdict
from registry.concurrency.outage import Outage
from registry.concurrency.tasks import in_time
from registry.errors import RegistryError

COUNT_SECONDS = 0.5
"""How long NATS may take to count dead letters: the page that shows them is for when a server is away, too."""


class ApplierMetrics(LeadHealth):
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
        self.count_dead_letters: Callable[[], Coroutine[Any, Any, int]] | None = None
        """Asks the stream how many wait, while this applier is connected to it."""
        self._waiting: dict[UUID, str] = {}
        """Why a command that is no other's fault is not carried out yet, by the command's id."""
        self._wait = Outage("command")
        self._answered = self._counter("commands", "Commands answered", ("command", "verdict"))
        self._seconds = Histogram(
            "imi_applier_command_seconds",
            "Seconds from a command's place in the stream to its outcome",
            ["command"],
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 300),
        )
        self._retries = self._counter("retries", "Times a command was tried again")
        self._buried = self._counter("dead_letters", "Messages stored as dead letters")

    async def waiting_dead_letters(self) -> int | None:
        """How many dead letters wait for somebody; None when the stream cannot be asked now."""
        if self.count_dead_letters is None:
            return None
        try:
            return await in_time(self.count_dead_letters(), COUNT_SECONDS, "NATS")
        except RegistryError:
            return None

    def problems(self) -> list[str]:
        """What keeps this applier from doing its work, one sentence each; none when it is well."""
        reasons = dict.fromkeys(self._waiting.values())
        return super().problems() + [f"{self._consequence}{reason}" for reason in reasons]

    def became(self, role: Role) -> None:
        """Note the role this applier has now; the commands it had in hand are others' now, or come again."""
        super().became(role)
        self._waiting.clear()

    def retried(self, command_id: UUID, name: str, error: Exception | None) -> None:
        """Note that a command is to be tried again; `error` is given when it is not the command's own fault."""
        self._retries.inc()
        if error is not None:
            self._waiting[command_id] = str(error)
            self._wait.failed(error, "a command waits", command=name, id=str(command_id))

    def settled(self, command_id: UUID) -> None:
        """Note that a command waits no more: it is answered, or a dead letter."""
        if self._waiting.pop(command_id, None) is not None and not self._waiting:
            self._wait.over()

    def answered(self, name: str, verdict: Verdict, stored_at: datetime) -> None:
        """Note an outcome of a command that the stream has had since `stored_at`.

        What senders make up for a name is counted as one.
        """
        self.commands += 1
        self.well()
        known = name if name in commands.COMMANDS else "unknown"
        self._answered.labels(known, verdict).inc()
        self._seconds.labels(known).observe(max((datetime.now(UTC) - stored_at).total_seconds(), 0))

    def buried(self) -> None:
        """Note a dead letter."""
        self.dead_letters += 1
        self._buried.inc()
