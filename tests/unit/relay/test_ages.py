"""Ages of events: each counts once, at the right bucket, whatever the clocks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import time

import pytest
from prometheus_client import CollectorRegistry

from publisher.relay.ages import LOOKED_AT, EventAges


def ago(seconds: float) -> str:
    at = datetime.now(UTC) - timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def exported(ages: EventAges) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ages)
    return registry


@pytest.mark.parametrize("events", [0, 1, LOOKED_AT - 1, LOOKED_AT, LOOKED_AT + 1, 2 * LOOKED_AT + 1, 1000])
def test_each_event_counts_once(events: int) -> None:
    ages = EventAges()
    ages.clock(time(), time())
    ages.observe("stored", [ago(3)] * events)
    registry = exported(ages)
    value = registry.get_sample_value
    assert value("imi_relay_event_age_seconds_count", {"stage": "stored"}) == events
    assert value("imi_relay_event_age_seconds_bucket", {"stage": "stored", "le": "2.0"}) == 0
    assert value("imi_relay_event_age_seconds_bucket", {"stage": "stored", "le": "5.0"}) == events
    assert value("imi_relay_event_age_seconds_sum", {"stage": "stored"}) == pytest.approx(3 * events, rel=0.1)
    assert value("imi_relay_event_age_seconds_count", {"stage": "read"}) == 0


def test_a_batch_of_old_and_new_events_is_told_as_it_is() -> None:
    ages = EventAges()
    ages.clock(time(), time())
    ages.observe("read", [ago(100)] * 900 + [ago(0)] * 100)
    bucket = {"stage": "read", "le": "10.0"}
    assert exported(ages).get_sample_value("imi_relay_event_age_seconds_bucket", bucket) == pytest.approx(100, abs=16)


@pytest.mark.parametrize("skew_seconds", [-3600, 3600])
def test_the_clock_is_that_of_postgresql(skew_seconds: int) -> None:
    ages = EventAges()
    ages.clock(time() + skew_seconds, time())
    ages.observe("sent", [ago(3 - skew_seconds)])
    registry = exported(ages)
    assert registry.get_sample_value("imi_relay_event_age_seconds_sum", {"stage": "sent"}) == pytest.approx(3, abs=0.5)


def test_what_an_answer_takes_to_come_is_no_difference_of_the_clocks() -> None:
    ages = EventAges()
    for taken_seconds in (0, 5, 0.5):
        ages.clock(time() - taken_seconds, time() - taken_seconds)
        ages.observe("read", [ago(3)])
    assert exported(ages).get_sample_value("imi_relay_event_age_seconds_sum", {"stage": "read"}) == pytest.approx(
        9, abs=0.5
    )


@pytest.mark.parametrize("time_text", ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"])
def test_any_time_of_an_event_has_an_age(time_text: str) -> None:
    ages = EventAges()
    ages.clock(time(), time())
    ages.observe("read", [time_text])
    assert exported(ages).get_sample_value("imi_relay_event_age_seconds_count", {"stage": "read"}) == 1
