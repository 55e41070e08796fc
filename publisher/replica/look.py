"""One look at a database as a replica, as a source, or as both: what `imi-registry replica status` tells."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import connect
from publisher.replica.copies import LostCopies
from publisher.replica.publication import Published, Slot, most_kept_bytes, published, slots
from publisher.replica.reason import errors_told, last_error, stopped_because
from publisher.replica.source import SESSION, Facts, connect_source, facts
from publisher.replica.state import ReplicaState, read_state
from publisher.replica.subscription import Subscription, read_subscription
from publisher.settings import Settings
from registry.errors import NotFound, RegistryError

LOOK_SECONDS = 0.5
"""How often it is looked whether a copy that seems lost is."""


class Look(NamedTuple):
    """What was found."""

    state: ReplicaState | None
    subscription: Subscription | None
    reasons: list[str]
    """Why it does not follow; none where it does."""
    source: Facts | None
    unheard: str | None
    """Why the source was not asked, or does not answer."""
    published: Published
    slots: list[Slot]
    most_kept_bytes: int | None

    @property
    def condition(self) -> str:
        """What the replica does, in words."""
        state, found = self.state, self.subscription
        if state is None:
            return "no replica"
        if not state.is_replica:
            return "promoted"
        if not state.follows:
            return "dropped: read-only, and follows no longer"
        if self.reasons:
            return "does not follow"
        if found is not None and found.uncopied:
            return f"copying: {found.copy_told}"
        return "follows"

    def details(self) -> dict[str, object]:
        """For people."""
        state, found = self.state, self.subscription
        if state is None:
            return {}
        age = None
        if state.is_replica:
            age = (
                "not known: imi-registry replica run looks"
                if state.age_seconds is None
                else f"{state.age_seconds:,.1f} s"
            )
        behind = None if self.source is None else self.source.behind_bytes
        return {
            "replica of": state.source,
            "condition": self.condition,
            "because": "; ".join(self.reasons) or None,
            "age": age,
            "behind": None if behind is None or not state.follows else f"{behind:,} bytes of WAL",
            "source": self.unheard if state.follows else None,
            "slot": state.slot,
            "heard": None if found is None or found.heard_seconds is None else f"{found.heard_seconds:,.1f} s ago",
            "errors": errors_told(found) if found is not None else None,
            "copied": state.copied_at,
            "dropped": state.stopped_at,
            "promoted": state.promoted_at,
            "registry": state.registry_id,
            "epoch": state.epoch,
        }

    def document(self) -> dict[str, Any]:
        """For programs."""
        replica = None
        if self.state is not None:
            replica = self.state._asdict() | {
                "condition": self.condition,
                "reasons": self.reasons,
                "subscription": None if self.subscription is None else self.subscription._asdict(),
                "source": None if self.source is None else self.source._asdict(),
                "unheard": self.unheard,
            }
        return {
            "replica": replica,
            "publication": self.published._asdict(),
            "slots": [slot._asdict() | {"is_lost": slot.is_lost} for slot in self.slots],
            "most_kept_bytes": self.most_kept_bytes,
        }


async def look(settings: Settings) -> Look:
    """Look at the database, and where it is a replica at its source as well.

    Raises `NotFound` where it is neither, `Unavailable`.
    """
    async with connect(settings.database_url or "", SESSION) as conn:
        state, there, own = await read_state(conn), await published(conn), await slots(conn)
        if state is None and not there.is_there and not own:
            raise NotFound(
                "this registry is no replica, and is published to none: imi-registry replica create, or replica publish"
            )
        found, reasons, told, unheard = None, [], None, None
        if state is not None and state.follows:
            found = await read_subscription(conn, state.slot)
            asked = await _asked(settings.replica_source_url, conn, state)
            told, unheard = asked.facts, asked.unheard
            reasons = [*([] if told is None else told.problems(state)), *filter(None, [asked.lost])]
            stopped = stopped_because(state, found)
            if stopped is not None:
                reasons.append(stopped)
                last = None if found is None else await last_error(conn, found)
                reasons += [] if last is None else [last]
        return Look(state, found, reasons, told, unheard, there, own, await most_kept_bytes(conn))


class _Asked(NamedTuple):
    """What the source answered, or why it was not asked, and which copies cannot be completed."""

    facts: Facts | None
    unheard: str | None
    lost: str | None = None


async def _asked(url: str | None, conn: AsyncConnection[Any], state: ReplicaState) -> _Asked:
    if url is None:
        return _Asked(None, "not asked: IMI_REPLICA_SOURCE_URL is not set")
    lost = LostCopies()
    try:
        async with connect_source(url) as source:
            while True:
                found = await read_subscription(conn, state.slot)
                why = None if found is None else await lost.look(source, found, state)
                if why is not None or not lost.may_be:
                    applied = None if found is None else found.applied_lsn
                    return _Asked(await facts(source, state.slot, applied), None, why)
                await asyncio.sleep(LOOK_SECONDS)
    except RegistryError as error:
        return _Asked(None, f"does not answer: {error}")
