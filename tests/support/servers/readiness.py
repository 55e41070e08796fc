"""What `/readyz` of a service says, waited for; and what others do to its database meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg

from tests.support.commands import envelope
from tests.support.relay_process import RelayProcess
from tests.support.world import World


def change(world: World, *statements: str) -> None:
    """What an administrator does."""
    with psycopg.connect(world.database, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


async def until_told(process: RelayProcess, *parts: str) -> None:
    """Wait until `/readyz` is red with a problem that has all of `parts`."""

    def is_told(code: int, problems: list[str]) -> bool:
        return code == 503 and any(all(part in problem for part in parts) for problem in problems)

    await until_ready_is(process, is_told)


async def until_well(process: RelayProcess) -> None:
    """Wait until `/readyz` is green."""
    await until_ready_is(process, lambda code, problems: code == 200 and not problems)


async def until_ready_is(process: RelayProcess, wanted: Callable[[int, list[str]], bool]) -> None:
    last: object = None
    try:
        async with asyncio.timeout(40):
            while True:
                assert process.is_running, process.log()
                code, body = await process.readyz()
                last = (code, body["problems"])
                if wanted(code, body["problems"]):
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"/readyz is {last}, the log: {process.log()[-6:]}") from None


async def use(world: World, number: int) -> None:
    """A command, and an event of somebody else's."""
    origin = f"git@github.com:o/p{number}.git"
    await world.send("project.register", envelope("project.register", {"name": "p", "remote_origin": origin}))
    change(world, f"SELECT register_project('q', 'git@github.com:o/q{number}.git')")


async def assert_all_done(world: World, commands: int) -> None:
    """Fail unless every command was applied, none rejected, none a dead letter, and each event was published once."""
    await world.commands_done()
    assert world.rows("SELECT verdict, count(*) FROM command_ledger GROUP BY verdict") == [("applied", commands)]
    await world.assert_exactly_once(at_least=3 * commands)
