"""Which messages go into the next batch: a transaction's events stay together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice

from publisher.outbox.cursor import Batch
from publisher.stream.tail import Stored
from registry.events.message import Message

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch stays below this, so that neither side holds much more at a time (nats-server keeps a batch in memory)."""


def take(waiting: Sequence[Message], limit: int) -> tuple[list[Message], list[Message]]:
    """Split `waiting` into the next batch and the rest, both in the order given.

    The batch holds whole transactions, those whose last message comes first, up to `limit` messages and
    `MAX_BATCH_BYTES`; a transaction larger than that goes in pieces. One message always goes.

    This keeps the order of each row: a transaction that saw another one's changes has a message behind all of the
    other's in `waiting`, so it ends later and is never sent before it (docs/adr/0001-outbox-and-relay.md).
    """
    if len(waiting) <= limit and sum(message.size for message in waiting) <= MAX_BATCH_BYTES:
        return list(waiting), []
    transactions: dict[int, list[int]] = {}
    for position, message in enumerate(waiting):
        # Popped and put back, a transaction moves to the end: the dict is in order of the last messages.
        positions = transactions.pop(message.transaction_id, [])
        positions.append(position)
        transactions[message.transaction_id] = positions
    chosen: set[int] = set()
    total_bytes = 0
    for positions in transactions.values():
        size = sum(waiting[position].size for position in positions)
        if len(chosen) + len(positions) > limit or total_bytes + size > MAX_BATCH_BYTES:
            if not chosen:
                chosen = set(positions[: _piece([waiting[position].size for position in positions], limit)])
            break
        chosen.update(positions)
        total_bytes += size
    batch = [message for position, message in enumerate(waiting) if position in chosen]
    return batch, [message for position, message in enumerate(waiting) if position not in chosen]


def as_batches(page: list[Stored], known: set[tuple[int, str]]) -> list[Batch]:
    """The events of `page` that are `known`, as batches: one for each stretch without anything between."""
    batches: list[Batch] = []
    for message in page:
        if message.outbox_id is None or (message.outbox_id, message.event_id) not in known:
            continue
        if batches and batches[-1].last_sequence == message.sequence - 1:
            batches[-1] = Batch(message.sequence, [*batches[-1].ids, message.outbox_id])
        else:
            batches.append(Batch(message.sequence, [message.outbox_id]))
    return batches


def _piece(sizes: Sequence[int], limit: int) -> int:
    """How many of the first messages of a transaction too large for one batch fit into it; at least one."""
    totals = accumulate(islice(sizes, limit))
    return max(1, sum(total <= MAX_BATCH_BYTES for total in totals))
