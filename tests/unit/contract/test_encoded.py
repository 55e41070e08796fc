"""Whatever stands in a row of the outbox, `encoded` makes a message of it that can be sent."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.events.message import FIRST_TIME, HEADER_BYTES, LAST_TIME, OutboxRow
from registry.events.reference import TOO_LARGE, UNREADABLE, Omission
from registry.profiles.bloodbank import BloodbankProfile
from registry.profiles.imi import ImiProfile
from registry.profiles.profile import Profile, encoded

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
    assert ("dataref" in envelope) == ("datarefreason" in envelope) == message.is_reference == ("data" not in envelope)
    assert message.omission is None or envelope["datarefreason"] == message.omission.reason
    assert message.is_reference or len(message.payload) + HEADER_BYTES <= MAX_BYTES
    assert message == encoded(profile, row, MAX_BYTES)
    if row.omission is not None:
        assert envelope["datarefreason"] == UNREADABLE


@pytest.mark.parametrize("profile", PROFILES, ids=["imi", "imi, version 2", "bloodbank"])
def test_data_of_any_depth_ends_nothing(profile: Profile) -> None:
    deep = '{"metadata": ' + "[" * 50_000 + "]" * 50_000 + "}"
    row = OutboxRow(1, 7, EVENT, "activity", "logged", None, EVENT, "2026-01-21T10:00:00.000000Z", *[None] * 4, deep)

    assert encoded(profile, row, 2**20).omission is None or profile is PROFILES[1]
    omission = encoded(profile, row, MAX_BYTES).omission
    assert omission is not None
    assert omission.reason == ("invalid" if profile is PROFILES[1] else TOO_LARGE)
