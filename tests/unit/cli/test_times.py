"""Times as people read them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from publisher.cli.arguments.times import moment, printed


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    "there", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(microsecond=0, tzinfo=UTC)], ids=["first", "last"]
)
def test_the_first_and_the_last_time_there_is_are_printed_in_any_zone(there: datetime) -> None:
    text = printed(there)

    assert text.endswith("Z") or datetime.fromisoformat(text) == there


@pytest.mark.usefixtures("zone")
def test_what_is_printed_can_be_given_back() -> None:
    there = datetime(2026, 1, 21, 10, tzinfo=UTC)

    assert moment(printed(there)) == there
