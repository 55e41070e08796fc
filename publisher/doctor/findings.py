"""What was found: one sentence for each thing that was looked at, and the counts that the database keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from publisher.health import Health
from publisher.outbox.known import Known
from registry.concurrency.outage import Outage
from registry.errors import Unavailable

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LOCKS = "locks"
"""The check of who waits for a lock."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    is_well: bool
    text: str
    is_hindrance: bool = True
    """Of what is not well: whether events or commands do not flow as they should, so that a service is not ready."""
    check: str = "registry"
    """What was looked at, in a word or two."""


def of_check(check: str, findings: Iterable[Finding]) -> list[Finding]:
    """The findings of one check, with its name."""
    return [finding._replace(check=check) for finding in findings]


class Counts(NamedTuple):
    """What is counted over the life of the registry, whichever process did it."""

    published: int = 0
    """Events in the stream, also those that its limits or retention removed since."""
    references: int = 0
    """Events of the outbox that went out without their data."""
    dead_ids: int = 0
    """Outbox ids whose transactions were rolled back."""
    commands: int = 0
    """Commands that the ledger remembers."""
    withheld: int = 0
    """Events that do not go into the stream."""


class Examined(NamedTuple):
    """Everything that one examination found."""

    findings: list[Finding]
    counts: Counts | None = None
    """None when nothing was ever published."""
    known: Known | None = None
    """What the database says of the stream; None when it could not be asked."""
    is_leaderless: bool = False
    """Whether the cluster of nats-servers has no leader, so that nothing else can be asked of it."""


class Findings(Health):
    """What was found last, as `/readyz` and the status page tell it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__("examination", registry, consequence="database and stream cannot be compared: ")
        self._last = Examined([])
        self._waits: int | None = None
        self._level("lock_waits", "Tables and own sessions that a lock keeps waiting", lambda: self._waits)
        self._locks = Outage("what a lock kept waiting")

    def found(self, examined: Examined) -> None:
        """Note what was found now."""
        self._last = examined
        self.well()
        waits = [finding.text for finding in examined.findings if finding.check == LOCKS]
        self._waits = len(waits)
        if waits:
            self._locks.failed(Unavailable("; ".join(waits)), "a lock keeps others waiting")
        else:
            self._locks.over()

    def forget(self) -> None:
        """Let go of what was found."""
        self._last, self._waits = Examined([]), None

    @property
    def last(self) -> Examined | None:
        """What was found last; None while nothing can be found."""
        return self._last if self._last.findings else None

    def problems(self) -> list[str]:
        """What is not well and keeps events or commands from flowing as they should."""
        return super().problems() + [one.text for one in self._last.findings if not one.is_well and one.is_hindrance]

    def facts(self) -> dict[str, str]:
        """Counts over the life of the registry, as they were when it was looked last."""
        counts, known = self._last.counts, self._last.known
        if counts is None or known is None:
            return {}
        withheld = {"Events that stay in the outbox": f"{counts.withheld:,}"} if counts.withheld else {}
        return {
            "Events published, in all": f"{counts.published:,}",
            **withheld,
            "Events that wait": known.told,
            "Events without their data": f"{counts.references:,}",
            "Outbox ids that were rolled back": f"{counts.dead_ids:,}",
            "Commands in the ledger": f"{counts.commands:,}",
        }

    def notes(self) -> list[str]:
        """What is not well beside that."""
        return [one.text for one in self._last.findings if not one.is_well and not one.is_hindrance]
