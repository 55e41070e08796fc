"""What is told of agreement: whether the bucket can be asked, and which projects keep another id than stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from publisher.agreement.standing import Unsettled, to_settle
from publisher.health import Health

if TYPE_CHECKING:
    from publisher.agreement.keeper import Looked

MOST_TOLD = 3


class AgreementHealth(Health):
    """Health of the keeper. That nobody can be agreed with keeps a registry from nothing: it is told as a note."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(
            "agreement",
            registry,
            interruptions="Times that the bucket, or the database, could not be asked",
            consequence="ids of projects are not agreed on with other registries: ",
        )
        self._is_bug = False
        self.unsettled: dict[str, Unsettled] = {}
        """As of the last look, by origin."""
        self._changed = self._counter("ids_changed", "Projects that went on under an id which another registry gave")
        self._differing: int | None = None
        self._level("unsettled", "Projects that keep another id than stands in the bucket", lambda: self._differing)

    def looked(self, looked: Looked) -> None:
        """Note what a look found."""
        self._changed.inc(len(looked.changed))
        self.unsettled = looked.unsettled
        self._differing = len(looked.unsettled)
        self.well()

    def forget(self) -> None:
        """Let go of the figure. Which projects those were is told on: only a person settles them."""
        self._differing = None

    def crashes(self, error: Exception) -> None:
        """Note an error that nobody foresaw."""
        self._is_bug = True
        super().crashes(error)

    def well(self) -> None:
        """Note that bucket and database answer."""
        self._is_bug = False
        super().well()

    def problems(self) -> list[str]:
        """Only a bug is one."""
        return super().problems() if self._is_bug else []

    def notes(self) -> list[str]:
        """What is waited for, and what only a person can settle."""
        waits = [] if self._is_bug else super().problems()
        told = [f"{origin}: {one.reason}" for origin, one in list(self.unsettled.items())[:MOST_TOLD]]
        more = len(self.unsettled) - len(told)
        return waits + told + ([f"{more} more projects keep another id than registries agreed on"] if more else [])

    def to_do(self) -> str:
        """What a person may do about those."""
        return to_settle("ORIGIN", "THIS", "OTHER") if self.unsettled and not self._is_bug else ""
