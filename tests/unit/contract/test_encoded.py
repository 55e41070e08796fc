"""Whatever stands in a row of the outbox, `encoded` makes a message of it that can be sent."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.events.message import FIRST_TIME, HEADER_BYTES, LAST_TIME, OutboxRow
from registry.events.reference import UNREADABLE, Omission
from registry.profiles.bloodbank import BloodbankProfile
from registry.profiles.imi import ImiProfile
from registry.profiles.profile import MOST_EVENT_LEVELS, Profile, encoded

EVENT = "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"
PROFILES: list[Profile] = [
    ImiProfile("imi", "urn:x"),
    ImiProfile("imi", "urn:x", {"activity.logged": 2}),
    BloodbankProfile("imi", "urn:x"),
]
SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
MAX_BYTES = 4096
WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=150)
DATA = st.none() | st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
).map(lambda value: orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode() if _fits(value) else "{}")
ROWS = st.builds(
    OutboxRow,
    id=st.integers(1, 2**63 - 1),
    transaction_id=st.just(7),
    event_id=st.just(EVENT),
    entity=st.sampled_from(["activity", "worktree"]) | WORDS,
    action=st.sampled_from(["logged", "removed"]) | WORDS,
    project_id=st.none() | st.just(EVENT),
    entity_id=st.none() | st.just(EVENT),
    occurred_at=st.sampled_from(["2026-01-21T10:00:00.000000Z", FIRST_TIME, LAST_TIME]),
    actor=st.none() | WORDS,
    correlation_id=st.none(),
    causation_id=st.none(),
    traceparent=st.none() | WORDS.map(lambda text: text[:100]),
    data=DATA | st.just('{"k": "' + "x" * MAX_BYTES + '"}'),
    omission=st.none() | st.just(Omission(UNREADABLE, "why")),
)


def _fits(value: object) -> bool:
    """Whether orjson can write it: no integer beyond 64 bits."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@given(row=ROWS, profile=st.sampled_from(PROFILES))
def test_every_row_becomes_a_message_that_can_be_sent(row: OutboxRow, profile: Profile) -> None:
    message = encoded(profile, row, MAX_BYTES)

    envelope = orjson.loads(message.payload)
    assert SUBJECT.fullmatch(message.subject)
    assert ("dataref" in envelope) == ("datarefreason" in envelope) == message.is_reference
    has_data_always = isinstance(profile, BloodbankProfile)
    assert isinstance(envelope["data"], dict) if has_data_always else message.is_reference == ("data" not in envelope)
    assert message.omission is None or envelope["datarefreason"] == message.omission.reason
    assert message.is_reference or len(message.payload) + HEADER_BYTES <= MAX_BYTES
    assert message == encoded(profile, row, MAX_BYTES)
    if row.omission is not None:
        assert envelope["datarefreason"] == UNREADABLE


@pytest.mark.parametrize(
    ("levels", "is_told"), [(MOST_EVENT_LEVELS - 1, True), (MOST_EVENT_LEVELS, False), (50_000, False)]
)
@pytest.mark.parametrize("profile", PROFILES, ids=["imi", "imi, version 2", "bloodbank"])
def test_data_nested_deeper_than_readers_read_goes_out_as_a_reference(
    profile: Profile, levels: int, is_told: bool
) -> None:
    deep = '{"activity_type": "other", "metadata": ' + "[" * levels + "]" * levels + "}"
    row = OutboxRow(1, 7, EVENT, "activity", "logged", None, EVENT, "2026-01-21T10:00:00.000000Z", *[None] * 4, deep)

    message = encoded(profile, row, 2**20)

    assert (message.omission is None) == is_told or profile is PROFILES[1]  # which looks into this data, and finds none
    assert is_told or (message.omission is not None and message.omission.reason == "invalid")


@pytest.mark.parametrize("text", ["[" * 1000, '\\"' + "[{" * 500, "\\" + "]" * 500, 'x\\\\"' + "{" * 200])
def test_brackets_in_texts_are_no_levels(text: str) -> None:
    data = orjson.dumps({"metadata": {"k": text, text: [[]] * 100}}).decode()
    row = OutboxRow(1, 7, EVENT, "project", "updated", None, EVENT, "2026-01-21T10:00:00.000000Z", *[None] * 4, data)

    assert encoded(PROFILES[0], row, 2**20).omission is None
