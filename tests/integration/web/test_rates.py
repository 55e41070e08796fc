"""How often somebody may do something."""

from __future__ import annotations

import pytest

from publisher.web import rates
from publisher.web.rates import Rate, counted_as


class Clock:
    """A time that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once_and_then_one_each_so_many_seconds() -> None:
    clock = Clock()
    rate = Rate(3, 10, clock)
    assert [rate.wait_seconds("a") for _ in range(5)] == [0, 0, 0, 10, 10]
    assert rate.wait_seconds("b") == 0
    clock.now += 9
    assert rate.wait_seconds("a") == 1
    clock.now += 1
    assert [rate.wait_seconds("a") for _ in range(2)] == [0, 10]
    clock.now += 1000
    assert [rate.wait_seconds("a") for _ in range(4)] == [0, 0, 0, 10]


def test_of_very_many_no_more_are_remembered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_KNOWN", 3)
    clock = Clock()
    rate = Rate(1, 10, clock)
    assert [rate.wait_seconds(who) for who in "abcde"] == [0] * 5
    assert rate.wait_seconds("a") == 10
    assert len(rate._full_until) == 3
    clock.now += 11
    assert rate.wait_seconds("f") == 0
    assert len(rate._full_until) == 1


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        *((one, "") for one in ("", "unknown", "_hidden", "192.0.2.7:80", "evil" * 1000)),
    ],
)
def test_who_has_a_network_is_one(address: str, counted: str) -> None:
    assert counted_as(address) == counted
