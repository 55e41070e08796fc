"""How long it takes until another publisher publishes, or another applier applies.

`python -m tests.faults.suite.takeover --times 50 --record`
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Annotated, NamedTuple

import typer

from docs import commit
from publisher.relay.patience import WELL_SECONDS
from tests.faults.suite import page, results
from tests.faults.suite.checker import judge
from tests.faults.suite.ending import run_in_order
from tests.faults.suite.installation import Installation, installed
from tests.faults.suite.leading import APPLIER, PUBLISHER, Part, Work
from tests.faults.suite.run import collect
from tests.support.services import scratch_directory

LOST_SECONDS = 60.0


class Way(NamedTuple):
    """One way to lose a leader."""

    part: Part
    how: str
    limit_seconds: float
    """What we chose: the program fails where it took longer."""
    lose: Callable[[Installation, str], AbstractAsyncContextManager[None]]
    """The leader of this name is lost inside the block."""
    calm_seconds: float = 0.0
    """So long nothing was lost in this way before: who took the lead for it is more patient the next time."""

    @property
    def name(self) -> str:
        """What is lost, and how."""
        return f"{self.part.name} {self.how}"


@asynccontextmanager
async def stopped(there: Installation, leader: str) -> AsyncIterator[None]:
    """As before a reboot of its machine: it may say that it goes."""
    there.parties[leader].process.stop()
    yield
    await there.parties[leader].process.exit_code()
    there.parties[leader].start()


@asynccontextmanager
async def killed(there: Installation, leader: str) -> AsyncIterator[None]:
    """As by a loss of power."""
    there.parties[leader].process.kill()
    yield
    await there.parties[leader].kill()
    there.parties[leader].start()


@asynccontextmanager
async def frozen(there: Installation, leader: str) -> AsyncIterator[None]:
    """It hangs, and its connections stand."""
    there.parties[leader].process.freeze()
    yield
    there.parties[leader].process.thaw()


def _parted(from_what: str) -> Callable[[Installation, str], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def parted(there: Installation, leader: str) -> AsyncIterator[None]:
        lines = there.lines[leader]
        proxies = {"PostgreSQL": lines.postgres, "NATS": lines.nats}.get(from_what, lines.all)
        for proxy in proxies:
            proxy.black_hole()
        yield
        for proxy in proxies:
            proxy.cut()
            proxy.go_on()

    return parted


WAYS = [
    Way(PUBLISHER, "stopped", 1.0, stopped),
    Way(PUBLISHER, "killed", 1.0, killed),
    Way(PUBLISHER, "frozen", 3.0, frozen),
    Way(PUBLISHER, "parted from PostgreSQL", 5.0, _parted("PostgreSQL")),
    Way(PUBLISHER, "parted from NATS", 5.0, _parted("NATS"), calm_seconds=WELL_SECONDS + 1),
    Way(PUBLISHER, "parted from both", 5.0, _parted("both")),
    Way(APPLIER, "stopped", 1.0, stopped),
    Way(APPLIER, "killed", 1.0, killed),
    Way(APPLIER, "frozen", 3.0, frozen),
    Way(APPLIER, "parted from PostgreSQL", 5.0, _parted("PostgreSQL")),
    Way(APPLIER, "parted from NATS", 5.0, _parted("NATS")),
    Way(APPLIER, "parted from both", 5.0, _parted("both")),
]


async def measure(ways: list[Way], times: int, directory: Path, folder: Path) -> dict[str, list[float]]:
    """Seconds, by name of the way, from when the leader was lost until the next one had done work that came since.

    Fails when anything was published twice, or out of order, meanwhile.
    """
    measured: dict[str, list[float]] = {way.name: [] for way in ways}
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    over_at: dict[str, float] = {}
    rng = random.Random(0)
    async with installed(directory, folder) as there, AsyncExitStack() as stack:
        parts = {way.part.name: way.part for way in ways}
        works = {name: await stack.enter_async_context(part.working(there)) for name, part in parts.items()}
        for _ in range(times):
            for way in ways:
                leader = await _leader_with_standby(there, way.part)
                calm_until = over_at.get(way.name, -math.inf) + way.calm_seconds
                await asyncio.sleep(max(calm_until - monotonic(), 0) + rng.random())  # at any beat
                async with way.lose(there, leader):
                    measured[way.name].append(await _seconds(works[way.part.name]))
                over_at[way.name] = monotonic()
        await collect(there)
    verdict = judge(folder)
    assert verdict.is_clean, verdict
    return measured


async def _leader_with_standby(there: Installation, part: Part) -> str:
    """Name of the party that leads, once the other one stands by."""
    async with asyncio.timeout(LOST_SECONDS):
        while True:
            if all([await _is_ready(there, name) for name in part.parties]):
                leader = await part.leader(there)
                if leader is not None:
                    return leader
            await asyncio.sleep(0.1)


async def _seconds(work: Work) -> float:
    began = monotonic()
    async with asyncio.timeout(LOST_SECONDS):
        await work()
    return monotonic() - began


async def _is_ready(there: Installation, name: str) -> bool:
    process = there.parties[name].process
    if not process.logged("ready"):
        return False
    with suppress(OSError):
        return (await process.readyz())[0] == 200
    return False


app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    times: Annotated[int, typer.Option(min=1, help="How often each way is measured.")] = 50,
    only: Annotated[str, typer.Option(help="Ways with this in their names alone; the others' figures stay.")] = "",
    record: Annotated[bool, typer.Option("--record", help="Write the figures to docs/reliability.json.")] = False,
) -> None:
    """Lose the leader in every way, and measure how long nothing is published, or no command is carried out.

    Exit code 1 where one took longer than its limit.
    """
    ways = [way for way in WAYS if only in way.name]
    if not ways:
        raise typer.BadParameter(f'"{only}" is in none of {", ".join(way.name for way in WAYS)}', param_hint="--only")
    of_commit = commit.to_be_recorded() if record else commit.checked_out()
    folder = Path("fault-history") / f"takeover-{secrets.token_hex(4)}"
    with scratch_directory() as directory:
        measured = run_in_order(measure(ways, times, directory, folder))
    for way in ways:
        seconds = measured[way.name]
        print(
            f"{way.name}: median {median(seconds):.2f} s, maximum {max(seconds):.2f} s, limit {way.limit_seconds:g} s"
        )
    if record:
        found = results.read()
        taken = {one.name: one for one in found.takeovers}
        taken |= {way.name: _taken(way, measured[way.name], of_commit) for way in ways}
        found.takeovers = [taken[way.name] for way in WAYS if way.name in taken]
        results.store(found)
        page.write()
    shutil.rmtree(folder)
    if late(ways, measured):
        raise typer.Exit(1)


def late(ways: Sequence[Way], measured: Mapping[str, Sequence[float]]) -> list[str]:
    """Names of the ways in which a takeover took longer than its limit."""
    return [way.name for way in ways if max(measured[way.name]) > way.limit_seconds]


def _taken(way: Way, seconds: list[float], of_commit: str) -> results.Takeovers:
    return results.Takeovers(
        part=way.part.name,
        way=way.how,
        limit_seconds=way.limit_seconds,
        date=results.today(),
        commit=of_commit,
        seconds=[round(value, 3) for value in seconds],
    )


if __name__ == "__main__":
    app()
