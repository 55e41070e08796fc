"""What the applier tells about itself: Prometheus metrics, and the same facts for the status page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from publisher.relay.metrics import Role
from registry.commands import COMMANDS, Verdict


class ApplierMetrics:
    """Metrics of one applier, in the `registry` that an exporter renders."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.role: Role = "starting"
        self.commands = 0
        self.dead_letters = 0
        self._last_error: str | None = None
        self._leading = Gauge("imi_applier_leader", "1 while this process takes commands", registry=registry)
        self._answered = Counter("imi_applier_commands", "Commands answered", ["command", "verdict"], registry=registry)
        self._interruptions = Counter(
            "imi_applier_interruptions", "Times the applier had to wait for a server", registry=registry
        )
        self._retries = Counter("imi_applier_retries", "Times a command was tried again", registry=registry)
        self._buried = Counter("imi_applier_dead_letters", "Messages stored as dead letters", registry=registry)

    def problems(self) -> list[str]:
        """What keeps this applier from doing its work, one sentence each; none when it is well."""
        found = []
        if self.role == "starting":
            found.append("the applier neither leads nor stands by yet")
        if self._last_error is not None:
            found.append(f"commands wait: {self._last_error}")
        return found

    def became(self, role: Role) -> None:
        """Note the role this applier has now."""
        self.role = role
        self._leading.set(role == "leader")
        if role != "starting":
            self._last_error = None

    def failed(self, error: Exception) -> bool:
        """Note what keeps all commands waiting, and tell whether that is news."""
        self._interruptions.inc()
        is_news = self._last_error != str(error)
        self._last_error = str(error)
        return is_news

    def retried(self, error: Exception | None) -> None:
        """Note that a command is to be tried again; `error` when it was not the command's own fault."""
        self._retries.inc()
        if error is not None:
            self._last_error = str(error)

    def answered(self, name: str, verdict: Verdict) -> None:
        """Note an outcome. What senders make up for a name is counted as one."""
        self.commands += 1
        self._last_error = None
        self._answered.labels(name if name in COMMANDS else "unknown", verdict).inc()

    def buried(self) -> None:
        """Note a dead letter."""
        self.dead_letters += 1
        self._buried.inc()
