"""A large registry: 10^5 worktrees and 10^6 events do not make a page slow."""

from __future__ import annotations

from time import perf_counter

import psycopg
import pytest

from tests.support.web.console import Visitor, served
from tests.support.world import World

WORKTREES, EVENTS = 100_000, 1_000_000
MOST_SECONDS = 0.05
TRIES = 15

FILL = """
ALTER TABLE projects DISABLE TRIGGER USER;
ALTER TABLE worktrees DISABLE TRIGGER USER;
INSERT INTO projects (id, name, remote_origin, trunk_path)
SELECT md5('p' || n)::uuid, 'project-' || n, 'git@github.com:a/p' || n || '.git', '/srv/p' || n
FROM generate_series(1, 1000) AS n;
INSERT INTO worktrees (
    id, project_id, type_id, name, branch_name, path, agent_id, has_uncommitted_changes, uncommitted_files_count,
    ahead_of_trunk
)
SELECT
    md5('w' || n)::uuid, md5('p' || 1 + n % 1000)::uuid, 1, 'feat-' || n, 'feat/' || n, '/srv/w' || n,
    'agent-' || n % 500,
    n % 3 = 0, CASE WHEN n % 3 = 0 THEN 2 ELSE 0 END, n % 2
FROM generate_series(1, %(worktrees)s) AS n;
INSERT INTO outbox (entity, action, project_id, entity_id, occurred_at, data)
SELECT
    'worktree', 'git_state_updated', md5('p' || 1 + n % 1000)::uuid, md5('w' || 1 + n % %(worktrees)s)::uuid,
    now() - make_interval(secs => %(events)s - n),
    jsonb_build_object(
        'name', 'feat-' || n, 'project_name', 'project-' || n % 1000, 'agent_id', 'agent-' || n % 500,
        'worktree_id', md5('w' || 1 + n % %(worktrees)s)::uuid, 'path', '/srv/w' || n, 'metadata', '{}'::jsonb,
        'changed', jsonb_build_object('ahead_of_trunk', n % 5)
    )
FROM generate_series(1, %(events)s) AS n;
INSERT INTO publisher_cursor (stream, published, stream_sequence, forgotten_sequence)
VALUES ('%(stream)s', int8multirange(int8range(1, %(events)s + 1)), %(events)s, %(events)s);
ANALYZE projects, worktrees, outbox
"""

PAGES = {
    "overview": "/",
    "events": "/events",
    "events of an agent": "/events?agent=agent-7",
    "events of a project": "/events?project=00000000-0000-0000-0000-000000000000",
    "events until a time": "/events?until=24h",
    "one event": "/events/500000",
    "causes": "/events/500000/causes",
    "projects": "/projects",
    "commands": "/commands",
    "streams": "/streams",
    "health": "/health",
    "proof": "/proof",
}


@pytest.mark.long
async def test_each_page_is_sent_within_fifty_milliseconds(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        values = {"worktrees": WORKTREES, "events": EVENTS, "stream": world.stream}
        for statement in FILL.split(";"):
            for name, value in values.items():
                statement = statement.replace(f"%({name})s", str(value))
            conn.execute(statement)
        project, worktree = conn.execute("SELECT md5('p7')::uuid, md5('w7')::uuid").fetchone() or ("", "")
    pages = PAGES | {"a project": f"/projects/{project}", "a worktree": f"/worktrees/{worktree}"}
    async with served(world, works=False) as (visitor, _):
        await visitor.until("/events", "git_state_updated")
        best = {name: await fastest(visitor, path) for name, path in pages.items()}
    told = {name: f"{1000 * seconds:.1f} ms" for name, seconds in best.items()}
    assert max(best.values()) < MOST_SECONDS, told
    print(told)


async def fastest(visitor: Visitor, path: str) -> float:
    """The shortest of some tries: what others do on this machine is not the page's."""
    times = []
    for _ in range(TRIES):
        began = perf_counter()
        answer = await visitor.get(path)
        times.append(perf_counter() - began)
        assert answer.status == 200, answer.text
    return min(times)
