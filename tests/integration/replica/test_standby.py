"""A source's URL that leads to a standby: what can be told is told, and that the primary is to be named."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from publisher.replica.look import look
from publisher.replica.replication import create
from registry.database import migrate
from registry.errors import Unprepared
from tests.support.replica.pairs import SETTINGS, Pair
from tests.support.servers.restartable import Restartable
from tests.support.world import World


async def test_a_replica_whose_source_url_leads_to_a_standby_tells_all_else(
    world: World, following: Pair, state_dir: Path
) -> None:
    with Restartable(partial(postgres, state_dir, settings=SETTINGS)) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        await server.stop(is_crash=False)
        (state_dir / "postgres" / "standby.signal").touch()
        await server.start()

        settings = world.at(database=following.replica).settings(replica_source_url=server.url)
        found = await look(settings)
        assert (found.condition, found.reasons) == ("follows", [])
        assert "a standby answers" in str(found.unheard)
        with pytest.raises(Unprepared, match="name that one"):
            await create(following.replica, "headquarters", "another", server.url, None, may_replace=True)
