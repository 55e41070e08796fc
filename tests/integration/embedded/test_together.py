"""Servers that are started side by side: at the same time, and none is left where one does not start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import pytest

from publisher.embedded.process import FIRST, Start
from publisher.embedded.supervised import Supervised, together
from registry.errors import Unavailable

SECONDS = 60.0


class Servers:
    """Servers without a process: what is tested is who waits for whom. `running` has the names of those that run."""

    def __init__(self) -> None:
        self.running: list[str] = []

    def one(self, name: str, start: Callable[[Start], object]) -> Supervised:
        """One that calls `start` while it starts."""

        @contextmanager
        def started(*, start_: Start = FIRST) -> Iterator[Any]:
            start(start_)
            self.running.append(name)
            try:
                yield SimpleNamespace(url=f"url of {name}", name=name)
            finally:
                self.running.remove(name)

        return Supervised(lambda start: started(start_=start))


@pytest.fixture
def servers() -> Servers:
    return Servers()


def test_all_start_at_the_same_time_and_something_is_done_meanwhile(servers: Servers) -> None:
    all_there = Barrier(3)

    def meet(*_: object) -> None:
        all_there.wait(SECONDS)  # broken, and so an error, unless the others come as well

    one, other = servers.one("a", meet), servers.one("b", meet)
    with together(one, other, meanwhile=meet):
        assert sorted(servers.running) == ["a", "b"]
        assert (one.url, other.url) == ("url of a", "url of b")
    assert servers.running == []


@pytest.mark.parametrize("failing", ["first", "other", "meanwhile"])
def test_where_one_does_not_start_none_is_left(servers: Servers, failing: str) -> None:
    runs = {"first": Event(), "other": Event()}

    def starting(name: str) -> Callable[..., None]:
        def start(*_: object) -> None:
            if name == failing:
                for other, is_there in runs.items():
                    assert other == name or is_there.wait(SECONDS)
                raise Unavailable(f"{name} is missing")
            if name in runs:
                runs[name].set()

        return start

    first, other = servers.one("first", starting("first")), servers.one("other", starting("other"))
    with (
        pytest.raises(Unavailable, match=f"{failing} is missing"),
        together(first, other, meanwhile=starting("meanwhile")),
    ):
        pytest.fail("it is not all there")
    assert servers.running == []


def test_one_that_is_starting_for_long_is_given_up_with_the_others(servers: Servers) -> None:
    is_starting = Event()

    def never(start: Start) -> None:
        is_starting.set()
        assert start.given_up.wait(SECONDS)
        raise Unavailable("given up")

    def fails(_: Start) -> None:
        assert is_starting.wait(SECONDS)
        raise Unavailable("no disk")

    with (
        pytest.raises(Unavailable, match="no disk"),
        together(servers.one("first", fails), servers.one("other", never)),
    ):
        pytest.fail("it is not all there")
    assert servers.running == []


def test_one_that_was_given_up_is_not_started_any_more(servers: Servers) -> None:
    one = servers.one("a", lambda _: None)
    one.give_up()
    with pytest.raises(Unavailable, match="given up"):
        one.__enter__()
    assert servers.running == []
