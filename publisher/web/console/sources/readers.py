"""What became of one event behind the stream: which consumers are past it, were given it, wait for it, put it aside."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from nats.aio.client import Client
from nats.js.api import ConsumerConfig, ConsumerInfo

from publisher.stream.consumers import durable_consumers
from registry.dead_letters import DeadLetterDesk
from registry.profiles.profile import Profile

MOST_READERS = 20


class Reader(NamedTuple):
    """A durable consumer that wants the event."""

    name: str
    state: str
    """`past it`, `was given it` or `waits for it`."""
    durable: str = ""
    """The subscription whose dead letter it is, where it is one."""
    letter: int | None = None
    """Number of the dead letter."""


async def readers_of(
    client: Client, profile: Profile, subject: str, sequence: int, event_id: UUID
) -> tuple[list[Reader], str]:
    """The first of them by name, and why there may be others. Raises `NotFound`, `Unavailable`."""
    listed, problem = await durable_consumers(client, profile.event_stream)
    wanted = [info for info in listed if takes(info.config, subject)]
    desk = DeadLetterDesk(client, profile)
    with_letters = set(await desk.durables(if_permitted=True)) if wanted else set()
    found: list[Reader] = []
    for info in sorted(wanted, key=lambda one: one.name)[:MOST_READERS]:
        durable = info.name.rpartition("-")[0]  # the consumers of a subscription are numbered
        letter = await desk.of_event(durable, event_id) if durable in with_letters else None
        reader = Reader(info.name, _state(info, sequence))
        found.append(reader if letter is None else reader._replace(durable=durable, letter=letter.number))
    return found, problem


def takes(config: ConsumerConfig, subject: str) -> bool:
    """Whether a consumer is given messages of this subject."""
    filters = [config.filter_subject] if config.filter_subject else list(config.filter_subjects or [])
    return not filters or any(_fits(one.split("."), subject.split(".")) for one in filters)


def _fits(pattern: list[str], tokens: list[str]) -> bool:
    if pattern[-1] == ">":
        if len(tokens) < len(pattern):
            return False
        pattern, tokens = pattern[:-1], tokens[: len(pattern) - 1]
    if len(pattern) != len(tokens):
        return False
    return all(wanted in ("*", token) for wanted, token in zip(pattern, tokens, strict=True))


def _state(info: ConsumerInfo, sequence: int) -> str:
    if info.ack_floor is not None and info.ack_floor.stream_seq >= sequence:
        return "past it"
    if info.delivered is not None and info.delivered.stream_seq >= sequence:
        return "was given it"
    return "waits for it"
