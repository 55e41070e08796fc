"""The estimate: a straight calculation. That its figures are those of the benchmarks, docs/figures.py sees to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.capacity.estimate import DAY_SECONDS, MEASURED, WAL_KEPT_BYTES, Estimate, Load, estimate
from publisher.cli.arguments.amounts import duration_seconds, rate_per_second
from registry.errors import Invalid


def load_of(writes: float = 200, **others: float) -> Load:
    given = {"peak_per_second": 3 * writes, "keep_seconds": 90 * DAY_SECONDS, "stream_keep_seconds": 30 * DAY_SECONDS}
    return Load(writes_per_second=writes, **(given | others))  # type: ignore[arg-type]  # replicas is a number, too


def test_two_hundred_writes_a_second_for_ninety_days() -> None:
    found = estimate(load_of(), MEASURED._replace(outbox_bytes=1000, stream_bytes=2000, wal_bytes=1500))
    assert found.outbox_events == 200 * 86_400 * 90
    assert found.outbox_bytes == found.outbox_events * 1000
    assert found.stream_bytes == 200 * 86_400 * 30 * 2000
    assert found.wal_bytes_per_day == 200 * 86_400 * 1500
    assert found.database_disk_bytes == pytest.approx(found.outbox_bytes * 4 / 3 + WAL_KEPT_BYTES)
    assert found.peak_cores == pytest.approx(3 * found.cores)
    assert (found.streams, found.publishers) == (1, 2)
    assert found.day_events == 200 * 86_400
    assert found.catch_up_seconds == pytest.approx(found.day_events / (MEASURED.publish_rate - 200))


def test_a_peak_beyond_one_publisher_is_shared_by_several_streams_with_a_standby_each() -> None:
    edge = 0.7 * MEASURED.publish_rate
    assert estimate(load_of(1, peak_per_second=edge - 1), MEASURED).streams == 1
    found = estimate(load_of(1, peak_per_second=edge + 1), MEASURED)
    assert (found.streams, found.publishers) == (2, 4)


def test_copies_of_the_stream_need_a_disk_each_and_more_of_the_processors() -> None:
    one, three = estimate(load_of(), MEASURED), estimate(load_of(replicas=3), MEASURED)
    assert (three.nats_disks, three.nats_disk_bytes) == (3, one.nats_disk_bytes)
    assert three.cores - one.cores == pytest.approx(2 * 200 * MEASURED.publish_cpu_seconds)


@given(st.floats(1e-6, 1e6), st.floats(1, 1e9), st.floats(0.001, 1e4))
def test_twice_the_writes_need_twice_the_room(writes: float, keep: float, events: float) -> None:
    def found(rate: float) -> Estimate:
        load = load_of(rate, keep_seconds=keep, stream_keep_seconds=keep, events_per_write=events)
        return estimate(load, MEASURED)

    one, two = found(writes), found(2 * writes)
    for name in ("outbox_bytes", "stream_bytes", "wal_bytes_per_day", "cores", "day_events"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name))
    assert two.streams >= one.streams >= 1
    assert one.catch_up_seconds > 0


@pytest.mark.parametrize(
    ("text", "rate"), [("200/s", 200), ("50/min", 50 / 60), ("3600/h", 1), ("86400/d", 1), ("0.5/s", 0.5), (" 1/s ", 1)]
)
def test_a_rate_is_a_number_for_each_unit_of_time(text: str, rate: float) -> None:
    assert rate_per_second("--writes", text) == pytest.approx(rate)


@pytest.mark.parametrize(
    "text",
    ["", "200", "/s", "200/", "200/w", "0/s", "-1/s", "1e3/s", "nan/s", "inf/s", f"{10**15}/s", "٣/s", "1/s/s"],
)
def test_what_is_no_rate_is_named_with_value_and_rule(text: str) -> None:
    with pytest.raises(Invalid, match=r"^--peak: value .*: it must be a number above 0 for each s, min, h or d"):
        rate_per_second("--peak", text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 90 * 86_400), ("12h", 43_200), ("30min", 1800), ("45s", 45), ("1.5d", 129_600)]
)
def test_a_time_is_a_number_of_units(text: str, seconds: float) -> None:
    assert duration_seconds("--keep", text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "0d", "-90d", "90days", "36501d", "1e3d", "nand", "9" * 15 + "d"])
def test_what_is_no_time_is_named_with_value_and_rule(text: str) -> None:
    with pytest.raises(Invalid, match=r"^--keep: value .*: it must be a number above 0 of s, min, h or d"):
        duration_seconds("--keep", text)
