"""Faults of the project's own processes: killed, stopped, frozen."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from tests.faults.suite.fault import fault
from tests.faults.suite.installation import APPLIERS, PUBLISHERS, SUBSCRIBER, Installation


def _declare(kind: str, names: tuple[str, ...]) -> None:
    @fault(f"{kind} killed", kind, longest_seconds=2, weight=2)
    async def killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        party = there.parties[rng.choice(names)]
        await party.kill()
        yield
        party.start()

    @fault(f"{kind} stopped", kind, longest_seconds=2)
    async def stopped(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        party = there.parties[rng.choice(names)]
        await party.stop()
        yield
        party.start()

    @fault(f"{kind} frozen", kind, longest_seconds=8, weight=2)
    async def frozen(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        process = there.parties[rng.choice(names)].process
        process.freeze()
        yield
        process.thaw()


for _kind, _names in {"publisher": PUBLISHERS, "applier": APPLIERS, "subscriber": (SUBSCRIBER,)}.items():
    _declare(_kind, _names)


@fault("both publishers killed", "publisher", longest_seconds=1)
async def both_killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    for name in PUBLISHERS:
        await there.parties[name].kill()
    yield
    for name in PUBLISHERS:
        there.parties[name].start()
