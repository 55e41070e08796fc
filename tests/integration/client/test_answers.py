"""Errors on their way over NATS: what a service or an outcome tells is the error that its caller raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, get_args

import pytest

from publisher import query_service
from registry import errors
from registry.broker.answers import TOO_LARGE, outcome_code, outcome_error, raise_refusal
from registry.client.history import HistoryPages
from registry.client.queries import QueryClient
from registry.commands import Code
from registry.errors import Invalid, OutcomeUnknown, RegistryError, Unavailable
from registry.events.filter import EventFilter
from registry.history.pages import HistoryLost
from registry.position import Position
from tests.support.world import World

TREE = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RegistryError)
]  # a class that is added there is in it
ARRIVES_AS = {
    OutcomeUnknown: Unavailable,
    errors.Unprepared: Unavailable,
    errors.Busy: Unavailable,
    errors.Unusable: errors.Invalid,
    HistoryLost: errors.Conflict,
}
TEXT = 'name: "größe\nx"'


def failing(kind: type[RegistryError]) -> Callable[..., NoReturn]:
    """What raises `kind` wherever the services call it."""

    def fail(*_: object) -> NoReturn:
        raise kind(TEXT)

    return fail


@pytest.mark.parametrize("kind", [*TREE, HistoryLost])
async def test_an_error_of_a_service_is_raised_by_its_client(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[RegistryError]
) -> None:
    monkeypatch.setitem(query_service.ANSWERS, "stats", failing(kind))
    monkeypatch.setattr("publisher.history.service.HistoryRequest.decode", failing(kind))
    pages = HistoryPages(world.nats, world.profile, Position(0), Position(9), EventFilter())

    async with world.queries(), world.history():
        with pytest.raises(RegistryError) as from_queries:
            await QueryClient(world.nats, world.names).stats()
        with pytest.raises(RegistryError) as from_history:
            await pages.next()

    expected = ARRIVES_AS.get(kind, kind)
    assert (from_queries.type, from_history.type) == (expected, expected)
    assert 'name: "größe' in str(from_queries.value)
    assert str(from_history.value) == 'name: "größe x"'


@pytest.mark.parametrize("kind", [*TREE, HistoryLost])
def test_an_error_of_a_command_is_raised_by_its_sender_unless_it_may_pass(kind: type[RegistryError]) -> None:
    if issubclass(kind, Unavailable):
        with pytest.raises(kind, match="name"):
            outcome_code(kind(TEXT))
        return
    error = outcome_error(outcome_code(kind(TEXT)), TEXT)
    assert (type(error), str(error)) == (ARRIVES_AS.get(kind, kind), TEXT)


def test_every_code_of_an_outcome_is_an_error_of_its_own() -> None:
    codes = get_args(Code)
    assert len({type(outcome_error(code, "")) for code in codes}) == len(codes)


def test_an_answer_that_is_too_large_or_of_an_unknown_code_is_not_worth_asking_for_again() -> None:
    with pytest.raises(Invalid, match="lower limit"):
        raise_refusal({"Nats-Service-Error-Code": TOO_LARGE, "Nats-Service-Error": "ask with a lower limit"})
    with pytest.raises(RegistryError, match="code 418") as unknown:
        raise_refusal({"Nats-Service-Error-Code": "418"})
    assert unknown.type is RegistryError
    raise_refusal(None)
    raise_refusal({"Status": "100"})
