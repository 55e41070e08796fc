"""Faults of the standby: it is ended in every way, or becomes the primary."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from time import monotonic
from typing import get_args

from tests.faults.suite.fault import fault
from tests.faults.suite.history import TAKEN_BACK, Notes
from tests.faults.suite.installation import Installation
from tests.faults.suite.kinds.postgresql import POSTGRESQL
from tests.faults.suite.writers import ledger
from tests.support.servers.replicas import Stop


@fault("primary lost and synchronous standby promoted", POSTGRESQL, longest_seconds=1, weight=2)
async def promoted(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    await there.database.fail_over()
    yield
    await there.database.add_standby()


@fault("primary lost and asynchronous standby promoted", POSTGRESQL, longest_seconds=4, weight=2)
async def promoted_behind(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """The standby lacks all that was committed while the fault lasted; what that was the lost primary still knows."""
    began_at = monotonic()
    await there.database.wait_for_nobody()
    await there.database.stop_standby()
    yield
    await there.database.stop(is_crash=True)
    await there.database.start_standby()
    await there.database.promote()
    async with there.database.lost_primary() as url:
        over_at, held = monotonic(), ledger(url)
    lacking = sorted(set(held) - set(ledger(there.database.url)))
    notes = Notes(there.folder, TAKEN_BACK)
    notes.add(began_at=began_at, over_at=over_at, entries=lacking)
    notes.close()
    await there.database.add_standby()


def _declare(way: Stop) -> None:
    @fault(f"synchronous standby {way}", POSTGRESQL, longest_seconds=4)
    async def synchronous(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        await there.database.stop_standby(way)
        yield
        await there.database.start_standby()

    @fault(f"asynchronous standby {way}", POSTGRESQL, longest_seconds=4)
    async def asynchronous(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        """Commits go on meanwhile; they wait for it again once it has them."""
        await there.database.wait_for_nobody()
        await there.database.stop_standby(way)
        yield
        await there.database.start_standby()
        await there.database.wait_for_standby()


for _way in get_args(Stop):
    _declare(_way)
