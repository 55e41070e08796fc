"""What a filter matches, in both profiles, and what a token is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.cli.arguments.times import moment
from publisher.outbox.ranges import range_array, runs
from publisher.settings import load, profile_of
from registry.errors import Invalid
from registry.events.filter import EventFilter
from registry.events.message import OutboxRow
from registry.position import Position

PROJECT, WORKTREE, CORRELATION = (str(uuid4()) for _ in range(3))
DATA = f'{{"worktree_id": "{WORKTREE}", "agent_id": "new", "changed": {{"agent_id": "old"}}}}'
ROW = OutboxRow(
    7, 70, str(uuid4()), "worktree", "claimed", PROJECT, WORKTREE, "2026-01-21T10:00:00.500000Z", None, CORRELATION,
    None, None, DATA,
)  # fmt: skip
AT = datetime(2026, 1, 21, 10, 0, 0, 500000, UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize("profile", ["imi", "bloodbank"])
@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        ({"entity": "worktree"}, {"entity": "project"}),
        ({"action": "claimed"}, {"action": "released"}),
        ({"project_id": PROJECT.upper()}, {"project_id": WORKTREE}),
        ({"worktree_id": WORKTREE}, {"worktree_id": PROJECT}),
        ({"agent_id": "new"}, {"agent_id": "other"}),
        ({"agent_id": "old"}, {"agent_id": "ol"}),
        ({"correlation_id": CORRELATION}, {"correlation_id": PROJECT}),
        ({"since": AT}, {"since": AT + TICK}),
        ({"until": AT + TICK}, {"until": AT}),
    ],
)
def test_each_filter_matches_what_it_names_only(profile: str, wanted: dict[str, str], other: dict[str, str]) -> None:
    payload = profile_of(load(profile=profile)).encode(ROW, 10**6).payload
    assert EventFilter.of(**wanted).matches(payload)
    assert not EventFilter.of(**other).matches(payload)
    assert not EventFilter.of(**(wanted | other)).matches(payload)


def test_an_event_without_its_data_matches_what_only_the_data_could_tell() -> None:
    payload = profile_of(load()).encode(ROW, 100).payload
    assert b"dataref" in payload
    assert EventFilter.of(agent_id="any").matches(payload)
    assert EventFilter.of(worktree_id=WORKTREE).matches(payload)
    assert not EventFilter.of(worktree_id=PROJECT).matches(payload)


STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.builds(EventFilter, since=st.none() | st.datetimes(timezones=st.just(UTC)), agent_id=st.none() | STORABLE))
def test_a_filter_survives_its_json(wanted: EventFilter) -> None:
    assert EventFilter.from_json(wanted.to_json()) == wanted


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b'{"x": 1}', b'{"since": "x"}', b'{"entity": 5}'])
def test_what_is_no_filter_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid):
        EventFilter.from_json(text)


@pytest.mark.parametrize("token", ["", "1", "2.1.1.0.", "1.-1.0.0.", "1.a.0.0.", "1.1.1.0.3", "1.1.1.0.3-x", "💥"])
def test_a_text_that_no_replay_gave_is_refused(token: str) -> None:
    with pytest.raises(Invalid, match="resume token"):
        Position.parse(token)


@pytest.mark.parametrize(
    "position", [Position(7), Position(7, 3), Position(7, 3, True), Position(7, 3, False, ((1, 2),))]
)
def test_a_resume_token_does_not_end_like_a_sentence(position: Position) -> None:
    assert str(position)[-1].isdigit()
    assert Position.parse(str(position)) == position


def test_a_resume_token_of_before_is_read() -> None:
    assert Position.parse("1.7.3.0.") == Position(7, 3)


@given(st.lists(st.integers(0, 50)))
def test_runs_are_the_values_in_their_order(values: list[int]) -> None:
    found = runs(values)
    assert [value for low, high in found for value in range(low, high)] == values
    assert all(before[1] != after[0] for before, after in pairwise(found))


def test_runs_as_a_postgresql_array() -> None:
    assert range_array(runs([7, 8, 3])) == '{"[7,9)","[3,4)"}'


@pytest.mark.parametrize(("text", "ago"), [("30s", 30), ("10m", 600), ("2h", 7200), ("7d", 604800)])
def test_a_time_ago(text: str, ago: int) -> None:
    before = datetime.now(UTC)
    assert before <= moment(text) + timedelta(seconds=ago) <= datetime.now(UTC)


def test_a_time_of_day_with_and_without_a_zone() -> None:
    assert moment("2026-01-21T10:00:00Z") == datetime(2026, 1, 21, 10, tzinfo=UTC)
    assert moment("2026-01-21") == datetime(2026, 1, 21).astimezone()
    for text in ("", "10", "2026-13-01", "-1h", "9999999d"):
        with pytest.raises(Invalid, match="is neither ISO 8601"):
            moment(text)
