"""What a text in the search box may mean: names, paths, agents, ids of all kinds, each looked up in bounded time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from publisher.web.console.sources.database import Database
from publisher.web.console.sources.lines import COLUMNS, SAID, SMALL, Line
from registry.errors import RegistryError

MOST = 12
MOST_MATCHES = 30
OF_A_KIND = 20
"""As many as `search_registry` gives of each."""
LATEST = 5_000
"""Events among which a text, or an id that has no index, is looked for."""

# The page of an activity is that of its worktree.
MATCHES = """
SELECT
    m.kind,
    coalesce(CASE WHEN m.kind = 'activity' THEN m.worktree_id END, m.id)::text AS id,
    concat_ws('/', CASE WHEN m.kind <> 'project' THEN left(m.project_name, 200) END, left(m.name, 200)) AS name,
    left(m.place, 300) AS about,
    m.excerpt
FROM public.search_registry(%(text)s, %(most)s) AS m
"""

# The middle of a word, which no index has: one pass over the table, which ends where enough is found.
WORKTREES = """
SELECT
    'worktree' AS kind,
    w.id::text AS id,
    concat(left(p.name, 200), '/', left(w.name, 200)) AS name,
    left(w.path, 300) AS about
FROM (
    SELECT id, project_id, name, path
    FROM public.worktrees
    WHERE position(%(text)s IN name) > 0 OR position(%(text)s IN path) > 0 OR position(%(text)s IN branch_name) > 0
    LIMIT %(most)s
) AS w
JOIN public.projects AS p ON p.id = w.project_id
"""

AGENTS = """
SELECT 'agent' AS kind, left(a.agent_id, 512) AS id, left(a.agent_id, 200) AS name,
    'holds ' || a.worktrees || CASE WHEN a.worktrees = 1 THEN ' worktree' ELSE ' worktrees' END AS about
FROM (
    SELECT agent_id, count(*) AS worktrees
    FROM public.worktrees
    WHERE active AND agent_id IS NOT NULL AND position(%(text)s IN agent_id) > 0
    GROUP BY agent_id
    ORDER BY agent_id
    LIMIT %(most)s
) AS a
"""

IDS = """
SELECT 'project' AS kind, id::text AS id, left(name, 200) AS name,
    CASE WHEN id = %(id)s::uuid THEN 'has this id' ELSE 'had this id' END AS about
FROM public.projects
WHERE id = public.current_project_id(%(id)s::uuid)
UNION ALL
SELECT 'worktree', id::text, left(name, 200), 'has this id'
FROM public.worktrees
WHERE id = %(id)s::uuid
"""

COMMANDS = """
SELECT 'command' AS kind, command_id::text AS id, left(type, 200) AS name, verdict AS about
FROM public.command_ledger
WHERE command_id = %(id)s::uuid
"""

EVENTS = f"""
SELECT {COLUMNS}, {SAID}
FROM (
    SELECT event.*
    FROM (
        SELECT *
        FROM public.outbox
        ORDER BY id DESC
        LIMIT {LATEST}
    ) AS event
    WHERE (
            %(id)s::uuid IS NOT NULL
            AND %(id)s::uuid IN (event.event_id, event.correlation_id, event.causation_id, event.entity_id)
        ) OR (
            %(id)s::uuid IS NULL
            AND pg_column_size(event.data) <= 2048
            AND position(%(text)s IN event.data::text) > 0
        )
    ORDER BY event.id DESC
    LIMIT %(most)s
) AS event
{SMALL}
ORDER BY event.id DESC
"""


class Found(NamedTuple):
    """Something that the text may mean."""

    kind: str
    id: str
    name: str
    about: str | None
    excerpt: Sequence[str] = ()
    """Some text of it: every second piece is what was looked for."""


class Results(NamedTuple):
    """All of it."""

    things: list[Found]
    events: list[Line]
    problems: list[str]
    """What could not be looked up, and why."""
    is_cut: bool = False
    """Whether there are more things than these, or may be."""


async def search(database: Database, text: str) -> Results:
    """What `text` may mean. A part that fails says so beside what the others found."""
    id_ = _id(text)
    values = {"text": text, "id": id_}
    queries = {IDS: MOST, COMMANDS: MOST} if id_ else {MATCHES: MOST_MATCHES, WORKTREES: MOST, AGENTS: MOST}
    things: list[Found] = []
    problems: list[str] = []
    is_cut = False
    for query, most in queries.items():  # one after the other: a search takes one connection of the three
        if query is WORKTREES and any(thing.kind == "worktree" for thing in things):
            continue
        try:
            found = await database.rows(Found, query, values | {"most": most + 1})
        except RegistryError as error:
            problems.append(str(error))
        else:
            things += found[:most]
            is_cut |= len(found) > most or OF_A_KIND in Counter(thing.kind for thing in found).values()
    try:
        events = await database.rows(Line, EVENTS, values | {"most": MOST})
    except RegistryError as error:
        events = []
        problems.append(str(error))
    return Results(things, events, list(dict.fromkeys(problems)), is_cut)


def _id(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None
