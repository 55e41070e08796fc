"""How many commands wait, and since when, as their stream has it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from nats.aio.client import Client

from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS, answer_in
from registry.broker.permitted import api_of


class Waiting(NamedTuple):
    """What the stream of commands holds, by the clock of nats-server."""

    messages: int
    is_taken: bool
    """Whether somebody takes them."""
    first: int
    """Sequence of the oldest."""
    seconds: float
    """How long it has waited."""

    def __str__(self) -> str:
        since = timedelta(seconds=round(self.seconds))
        wait = "1 command waits," if self.messages == 1 else f"{self.messages:,} commands wait, the oldest"
        return f"{wait} for {since}"


async def waiting_commands(client: Client, stream: str) -> Waiting | None:
    """What waits, None when nothing does. Raises `NotFound` when there is no stream, `Unprepared`, `Unavailable`."""
    with translated_nats(f"cannot read stream {stream}"):
        subject = f"{api_of(client)}.STREAM.INFO.{stream}"
        answer = answer_in((await client.request(subject, timeout=REQUEST_TIMEOUT_SECONDS)).data)
    state = answer["state"]
    if not state["messages"]:
        return None
    now = datetime.fromisoformat(answer["ts"]) if "ts" in answer else datetime.now(UTC)  # before 2.10
    seconds = max((now - datetime.fromisoformat(state["first_ts"])).total_seconds(), 0)
    return Waiting(state["messages"], state["consumer_count"] > 0, state["first_seq"], seconds)
