"""No public call raises anything but the errors of the one tree, whatever it is given."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.client import RegistryClient, Sending
from registry.database import Registry
from registry.errors import RegistryError
from registry.position import After, FromSequence, FromStart, Last, Position, Since
from tests.support.world import World


class Text(str):
    """A subclass of str."""

    __slots__ = ()


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = [value]
    return {"deep": value}


def explosion(levels: int) -> Any:
    """Few objects, and as a text more than any disk holds."""
    value: Any = [1]
    for _ in range(levels):
        value = [value, value]
    return {"wide": value}


def hostile() -> list[Any]:
    """Values that somebody may give where something else is meant."""
    return [
        None,
        "",
        " ",
        "a\0b",
        "\ud800",
        "x" * 100_000,
        "a.b*>\r\n",
        Text("text"),
        Text("\udfff"),
        b"bytes",
        bytearray(b"x"),
        0,
        -1,
        2**31,
        2**63,
        10**400,
        -(10**5000),
        math.nan,
        math.inf,
        -math.inf,
        1e308,
        Decimal("NaN"),
        Decimal("1e5000"),
        True,
        [],
        ["x"],
        (),
        {},
        {"x": math.nan},
        {1: 2},
        {"\0": 1},
        {"\ud800": 1},
        cycle(),
        nested(99),
        nested(500),
        nested(100_000),
        explosion(80),
        {"set": {1, 2}},
        object(),
        len,
        UUID(int=1),
        str(UUID(int=1)),
        datetime.min,
        datetime.max,
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        datetime.now(UTC),
        timedelta(days=1),
        FromStart(),
        FromSequence(0),
        FromSequence(2**63),
        FromSequence("1"),  # type: ignore[arg-type]
        Since(datetime.min.replace(tzinfo=UTC)),
        Since(datetime.max.replace(tzinfo=UTC)),
        Since(datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
        Since(datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))),
        Since("now"),  # type: ignore[arg-type]
        Last(0),
        Last(10**30),
        Last(1.5),  # type: ignore[arg-type]
        After("x"),
        After(Position(-1)),
        After(Position(10**30)),
        After(Position("x")),  # type: ignore[arg-type]
        Sending(timeout=math.nan),
        Sending(timeout=-1),
        Sending(timeout=math.inf),
        Sending(command_id="x"),  # type: ignore[arg-type]
        Sending(actor="\0"),
        Sending(actor="x" * 1000),
        Sending(idempotency_key=b"x"),  # type: ignore[arg-type]
        Sending(correlation_id=5),  # type: ignore[arg-type]
        Sending(traceparent="a\0\r\n"),
    ]


HOSTILE = hostile()
SOME = st.integers(0, len(HOSTILE) - 1)
QUICK = Sending(timeout=5)


def public(owner: object) -> Iterator[str]:
    """Names of what can be called of an object of ours."""
    for name, _ in inspect.getmembers(type(owner), inspect.isfunction):
        if not name.startswith("_"):
            yield name


def plausible(name: str) -> Any:
    """A value that is right for a parameter of this name, so that it is another one that is looked at."""
    return {
        "project_id": UUID(int=1),
        "worktree_id": UUID(int=1),
        "activity_id": UUID(int=1),
        "event_id": UUID(int=1),
        "type_id": 1,
        "remote_origin": "git@github.com:a/b.git",
        "path": "/a/b",
        "sending": QUICK,
        "metadata": {},
        "data": {},
        "sequence": 1,
        "reference": 1,
        "handler": len,
        "durable": "d",
        "activity_type": "other",
    }.get(name, "x")


async def outcome(call: Callable[[], Any]) -> BaseException | None:
    """What a call raises: of a coroutine, or of a block that is entered and read from once."""
    try:
        async with asyncio.timeout(20), AsyncExitStack() as stack:
            made = call()
            if inspect.isawaitable(made):
                await made
            elif hasattr(made, "__aenter__"):
                entered = await stack.enter_async_context(made)
                if hasattr(entered, "__anext__"):
                    async with asyncio.timeout(0.2):
                        await anext(entered, None)
    except TimeoutError:
        return None  # it follows, or subscribes: it has taken what it was given
    except BaseException as error:
        return error
    return None


async def check(owner: Any, names: list[str], examples: int) -> None:
    """Call each with one or two hostile values among plausible ones."""
    for name in names:
        method = getattr(owner, name)
        parameters = [
            parameter
            for parameter in inspect.signature(method).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        if parameters:
            await asyncio.to_thread(check_one, name, method, parameters, examples, asyncio.get_running_loop())


def check_one(
    name: str,
    method: Callable[..., Any],
    parameters: list[inspect.Parameter],
    examples: int,
    loop: asyncio.AbstractEventLoop,
) -> None:
    needed = {each.name: plausible(each.name) for each in parameters if each.default is each.empty}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.dictionaries(st.sampled_from([each.name for each in parameters]), SOME, min_size=1, max_size=2))
    def raises_only_ours(some: dict[str, int]) -> None:
        values = needed | {which: HOSTILE[number] for which, number in some.items()}
        error = asyncio.run_coroutine_threadsafe(outcome(lambda: method(**values)), loop).result(60)
        assert error is None or isinstance(error, RegistryError), (name, some, repr(error))
        assert error is None or "\n" not in str(error)

    raises_only_ours()


@pytest.fixture
async def client(world: World) -> AsyncIterator[RegistryClient]:
    async with (
        world.relay(),
        world.applier(),
        world.queries(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as connected,
    ):
        yield connected


@pytest.mark.parametrize("examples", [25, pytest.param(400, marks=pytest.mark.long)])
async def test_the_client_raises_only_our_errors(client: RegistryClient, examples: int) -> None:
    await check(client, [name for name in public(client) if name not in {"connect", "subscribe"}], examples)
    await check(client.queries, list(public(client.queries)), examples)


@pytest.mark.parametrize("examples", [25, pytest.param(400, marks=pytest.mark.long)])
async def test_the_registry_raises_only_our_errors(world: World, examples: int) -> None:
    async with Registry.connect(world.database) as registry:
        await check(registry, [name for name in public(registry) if name != "connect"], examples)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
async def test_subscribing_and_connecting_raise_only_our_errors(world: World, number: int) -> None:
    value = HOSTILE[number]

    async def handle(_: Any) -> None:
        pass

    async with world.relay(), RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        for name in ("handler", "durable", "entity", "action", "project_id", "concurrency", "from_start"):
            given_ = {"handler": handle, "durable": "d"} | {name: value}
            subscribing = asyncio.ensure_future(outcome(lambda given_=given_: client.subscribe(**given_)))
            await asyncio.wait([subscribing], timeout=0.1)
            if not subscribing.done():
                subscribing.cancel()
                await asyncio.wait([subscribing])
                continue
            error = subscribing.result()
            assert error is None or isinstance(error, RegistryError), (name, repr(error))
    for name in ("nats_url", "prefix", "profile", "source", "name"):
        given_ = {"nats_url": world.nats_url} | {name: value}
        error = await outcome(lambda given_=given_: RegistryClient.connect(**given_))
        assert error is None or isinstance(error, RegistryError), (name, repr(error))
