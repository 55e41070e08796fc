"""Events in hand: what a subscription was given, what of it is handled, and up to where everything is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeGuard

from nats.aio.msg import Msg

from registry import events
from registry.broker.durable import Turn
from registry.errors import Invalid
from registry.events.envelope import attributes_of
from registry.subjects import NO_PROJECT


class Delivery(NamedTuple):
    """One event as it arrived: its subject, the bytes of its envelope, and its place in the stream."""

    subject: str
    payload: bytes
    sequence: int
    is_redelivered: bool = False
    """Whether it was a dead letter: out of order, what came behind it may be handled already."""

    @property
    def event(self) -> events.Event:
        """The event in its newest model. Raises `Invalid` for one that this version of the package does not know."""
        return events.parse(self.payload)

    @property
    def project_id(self) -> str | None:
        """The project it is about, if any, and if it can be read."""
        return self._attribute("partitionkey")

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of its writer, if any, and if it can be read."""
        return self._attribute("traceparent")

    @property
    def ids(self) -> dict[str, str | None]:
        """What a line of the log names the event by."""
        return {"event_id": self._attribute("id"), "correlation_id": self._attribute("correlationid")}

    @property
    def keys(self) -> frozenset[str]:
        """What it must wait for: events of one project are handled one after the other, those of none, too.

        A worktree that moves, and projects that are merged, are about two. Of an event whose data is elsewhere it is
        known by its own project alone.
        """
        try:
            attributes = attributes_of(self.payload)
        except Invalid:
            return frozenset({NO_PROJECT})
        data = attributes.get("data") or {}
        before = [part["project_id"] for part in (data.get("changed"), data.get("loser")) if _has_project(part)]
        named = [name for name in (attributes.get("partitionkey"), *before) if isinstance(name, str)]
        return frozenset(named or [NO_PROJECT])

    def _attribute(self, name: str) -> str | None:
        try:
            value = attributes_of(self.payload).get(name)
        except Invalid:
            return None
        return value if isinstance(value, str) else None


def _has_project(part: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(part, Mapping) and "project_id" in part


Handler = Callable[[Delivery], Awaitable[None]]


class Held(NamedTuple):
    """An event in hand, and the message that acknowledges it."""

    delivery: Delivery
    message: Msg
    generation: int
    """Of the stream that its sequence is of; as in a `Turn`."""


class Hand:
    """What of the stream is in hand, and what is handled."""

    def __init__(self) -> None:
        self.done = 0
        """Sequence up to which every event is handled."""
        self.generation = 0
        """Of the stream that this, and all that is noted here, is of; as in a `Turn`."""
        self._last = 0
        self._last_delivery = 0
        self._held: dict[int, Held] = {}
        self._seen = 0
        """Sequence of the last event taken in any turn: up to there all is handled that is not in `_unhandled`."""
        self._unhandled: set[int] = set()

    def begin(self, turn: Turn) -> None:
        """Take what is behind the place where a turn begins, in order. What was in hand comes again."""
        if turn.generation != self.generation:
            self._seen = 0
            self._unhandled.clear()
        self.generation = turn.generation
        self._last_delivery = turn.delivered
        self._go_on_behind(turn.done)

    def let_go(self) -> None:
        """Have nothing in hand; what is handled stays noted."""
        self._go_on_behind(self.done)

    def _go_on_behind(self, done: int) -> None:
        self._held.clear()
        self.done = self._last = done
        self._unhandled = {sequence for sequence in self._unhandled if sequence > done}

    def take(self, held: Held) -> bool:
        """Take a delivery; False when its event is handled already."""
        sequence = held.delivery.sequence
        self._last = max(self._last, sequence)
        self._last_delivery = held.message.metadata.sequence.consumer
        if sequence <= self.done or (sequence <= self._seen and sequence not in self._unhandled):
            self._settle()
            return False
        self._seen = max(self._seen, sequence)
        self._unhandled.add(sequence)
        self._held[sequence] = held
        return True

    def holds(self, held: Held) -> bool:
        """Whether this delivery is the one to handle: not handled, and not delivered again."""
        return self._held.get(held.delivery.sequence) is held

    def handled(self, handled: Held) -> Msg | None:
        """Note that an event is handled; returns the message to acknowledge, None when it is still to come again.

        That of another stream says nothing of the one at its place in this one.
        """
        if handled.generation != self.generation:
            return None
        sequence = handled.delivery.sequence
        self._unhandled.discard(sequence)
        held = self._held.pop(sequence, None)
        self._settle()
        return held.message if held else None

    @property
    def acknowledged(self) -> int:
        """Consumer sequence of the delivery up to which all that were taken are acknowledged."""
        for held in self._held.values():  # the lowest, if there is one
            return held.message.metadata.sequence.consumer - 1
        return self._last_delivery

    def _settle(self) -> None:
        lowest = next(iter(self._held), self._last + 1)
        self.done = max(self.done, lowest - 1)
