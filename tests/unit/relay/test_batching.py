"""Which messages share a batch: whole transactions, without turning round the changes of any row."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from publisher.relay import batching
from publisher.relay.batching import take
from registry.events.message import FIRST_TIME, Message


def message(outbox_id: int, transaction_id: int, subject: str = "s", size: int = 1) -> Message:
    return Message(subject, b"x" * size, outbox_id, f"e{outbox_id}", transaction_id, False, subject, FIRST_TIME)


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Outbox rows in id order, as row locks allow them: a transaction writes a row only after its last writer ended."""
    open_writes: dict[int, set[str]] = defaultdict(set)
    rows, next_id, next_transaction = [], 1, 1
    active: list[int] = []
    for _ in range(draw(st.integers(0, 60))):
        if not active or draw(st.booleans()):
            active.append(next_transaction)
            next_transaction += 1
        transaction = draw(st.sampled_from(active))
        held = {row for other in active if other != transaction for row in open_writes[other]}
        free = [row for row in "abcdef" if row not in held]
        if free:
            row = draw(st.sampled_from(free))
            open_writes[transaction].add(row)
            rows.append(message(next_id, transaction, row))
            next_id += 1
        if draw(st.integers(0, 3)) == 0:
            active.remove(transaction)
    return rows


@given(histories(), st.integers(1, 20))
def test_draining_keeps_every_row_in_order_and_loses_nothing(history: list[Message], limit: int) -> None:
    waiting, sent = list(history), []
    while waiting:
        batch, waiting = take(waiting, limit)
        assert 1 <= len(batch) <= limit
        sent += batch
    assert Counter(sent) == Counter(history)
    for row in "abcdef":
        ids = [sent_message.outbox_id for sent_message in sent if sent_message.subject == row]
        assert ids == sorted(ids)


@given(histories(), st.integers(1, 20))
def test_a_transaction_that_fits_is_never_split(history: list[Message], limit: int) -> None:
    sizes = Counter(item.transaction_id for item in history)
    waiting = list(history)
    batches = []
    while waiting:
        batch, waiting = take(waiting, limit)
        batches.append({item.transaction_id for item in batch})
    for transaction, size in sizes.items():
        assert size > limit or sum(transaction in batch for batch in batches) == 1


def test_a_batch_stays_below_its_limit_of_bytes() -> None:
    size = batching.MAX_BATCH_BYTES // 2 - 10_000
    batch, rest = take([message(number, number, size=size) for number in range(1, 6)], 1000)
    assert (len(batch), len(rest)) == (2, 3)


def test_one_message_larger_than_a_batch_is_sent_alone() -> None:
    huge = message(1, 1, size=batching.MAX_BATCH_BYTES + 1)
    assert take([huge, message(2, 2)], 1000) == ([huge], [message(2, 2)])


def test_a_transaction_larger_than_a_batch_is_sent_in_pieces() -> None:
    waiting = [message(number, 7) for number in range(1, 8)]
    batch, rest = take(waiting, 3)
    assert batch == waiting[:3]
    assert rest == waiting[3:]
