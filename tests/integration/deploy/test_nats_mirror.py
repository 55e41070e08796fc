"""docs/security.md, Checklist: a mirror follows as the user `live` of deploy/nats, who may read and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.databases import Role, new_database
from tests.support.mirror.mirrors import Mirror
from tests.support.nats.deployed import Deployed, deployed_server, service
from tests.support.world import World


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server() as server:
        yield server


@pytest.fixture
def mirror(there: World, admin_url: str, owner: Role, template_database: str) -> Iterator[Mirror]:
    with new_database(admin_url, owner, template_database) as database:
        yield Mirror(there, database)


async def test_a_mirror_follows_as_the_user_live(there: World, deployed: Deployed, mirror: Mirror) -> None:
    access = deployed.access("live")
    as_live = {
        "mirror_nats_url": f"tls://live:word-of-live@{urlsplit(deployed.url).netloc}",
        "mirror_nats_tls_ca": access["tls_ca"],
        "mirror_inbox_prefix": access["inbox_prefix"],
        "mirror_js_domain": access["js_domain"],
    }
    async with service(there, deployed):
        there.write()
        async with mirror.following(**as_live) as health:
            await mirror.assert_same(is_snapshot=True)
            with psycopg.connect(there.database) as conn:  # larger than a message: asked for by the id of its event
                conn.execute("UPDATE projects SET description = repeat('x', %s)", [there.nats.max_payload + 1])
            await mirror.assert_same()
            assert health.problems() == []
        with psycopg.connect(there.database) as conn:
            conn.execute("UPDATE projects SET description = 'short'")
        await there.drained()
        last = (await there.nats.jetstream().stream_info(there.stream)).state.last_seq
        await there.trim(last + 1)  # what the mirror lacks is asked of the history
        async with mirror.following(**as_live) as health:
            await mirror.assert_same()
            assert health.problems() == []
    assert mirror.state("snapshots") == (1,)
