"""How long a standby bears a leader that cannot publish."""

from __future__ import annotations

from publisher.relay.patience import BEARING_SECONDS, WELL_SECONDS, Patience

FIRST, LONGEST = BEARING_SECONDS


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def borne(patience: Patience, clock: Clock) -> float:
    """For how long a leader is borne that is hindered from now on; then this one takes over."""
    began = clock.seconds
    while not patience.is_over(is_hindered=True):
        clock.seconds += 0.25
    patience.took_over()
    return clock.seconds - began


def test_it_is_twice_as_long_each_time_up_to_the_longest() -> None:
    clock = Clock()
    patience = Patience(clock)

    assert [borne(patience, clock) for _ in range(9)] == [*(FIRST * 2**times for times in range(6)), *[LONGEST] * 3]


def test_a_leader_that_publishes_now_and_then_is_no_reason_to_begin_anew() -> None:
    clock = Clock()
    patience = Patience(clock)
    assert borne(patience, clock) == FIRST

    clock.seconds += WELL_SECONDS / 2
    assert not patience.is_over(is_hindered=False)
    assert borne(patience, clock) == 2 * FIRST

    clock.seconds += WELL_SECONDS + 1
    patience.begins()
    assert not patience.is_over(is_hindered=False)
    assert borne(patience, clock) == FIRST
