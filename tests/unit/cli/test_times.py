"""Times as people read them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from publisher.cli.arguments.times import moment, printed
from registry.errors import Invalid
from registry.validation import EARLIEST, LATEST, shifted


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


AT_THE_ENDS = {
    "0001-01-01T00:00Z": EARLIEST,
    "0001-01-01T00:00:00+14:00": EARLIEST,
    "0001-01-01T00:00:00-14:00": EARLIEST + timedelta(hours=14),
    "9999-12-31T23:59:59.999999Z": LATEST,
    "9999-12-31T23:59:59-12:00": LATEST,
    "9999-12-31T23:59:59+12:00": LATEST.replace(hour=11, microsecond=0),
    "999999d": EARLIEST,
}


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(("text", "expected"), AT_THE_ENDS.items())
def test_a_time_that_is_in_no_year_in_utc_is_the_nearest_that_is(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize("text", ["0001-01-01", "0001-01-02T10:00", "9999-12-31", "9999-12-31T23:59:59"])
def test_the_first_and_the_last_day_are_read_in_any_zone(text: str) -> None:
    naive = datetime.fromisoformat(text)
    offset = naive.replace(year=min(max(naive.year, 2), 9998)).astimezone().utcoffset()
    assert offset is not None
    assert moment(text) == shifted(naive.replace(tzinfo=UTC), -offset)


@pytest.mark.parametrize("text", ["0000-01-01", "10000-01-01", "+012026-01-01"])
def test_a_year_that_there_is_not_is_told_as_that(text: str) -> None:
    with pytest.raises(Invalid, match=re.escape(f'time "{text}" is in none of the years 1 to 9999')):
        moment(text)
