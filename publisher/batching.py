"""Which messages go into the next batch: a transaction's events stay together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from registry.envelope import Message

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch stays below this, so that neither side holds much more at a time (nats-server keeps a batch in memory)."""


def take(waiting: Sequence[Message], limit: int) -> tuple[list[Message], list[Message]]:
    """Split `waiting` into the next batch and the rest, both in the order given.

    The batch has at most `limit` messages and about `MAX_BATCH_BYTES` (one message always goes). A transaction with
    messages on both sides of the cut waits whole, unless nothing else is left to send: then it is larger than a batch.

    Leaving a transaction T out keeps the order of each row: whatever in the batch comes from a transaction that saw T's
    changes stands behind all of T in `waiting`, so it would be behind the cut as well (docs/adr/0001).
    """
    cut = _cut(waiting, limit)
    head, tail = list(waiting[:cut]), list(waiting[cut:])
    unfinished = {message.transaction_id for message in tail}
    batch = [message for message in head if message.transaction_id not in unfinished]
    if not batch:
        return head, tail
    return batch, [message for message in head if message.transaction_id in unfinished] + tail


def _cut(waiting: Sequence[Message], limit: int) -> int:
    """How many of the first messages fit into one batch."""
    total_bytes = 0
    for number, message in enumerate(islice(waiting, limit)):
        total_bytes += message.size
        if total_bytes > MAX_BATCH_BYTES and number > 0:
            return number
    return min(limit, len(waiting))
