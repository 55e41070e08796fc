"""Causes: the commands and events of one conversation as a tree, from any of them, in bounded time.

No index leads to them. What belongs together is near in time, so some thousand events around the one that is asked
about are looked at, and on demand all that there is time for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from publisher.web.console.sources.database import Database
from publisher.web.console.sources.ledger import Entry
from publisher.web.console.sources.lines import COLUMNS, SAID, SMALL, Line
from registry.errors import Unprepared

NEAR = 5_000
WIDE = 2_000_000
MOST_EVENTS = 400
ROUNDS = 4
"""How many steps from one conversation into another are followed."""

RELATED = f"""
SELECT {COLUMNS}, {SAID}
FROM (
    SELECT *
    FROM public.outbox AS event
    WHERE event.id BETWEEN %(first)s AND %(last)s
        AND (
            coalesce(event.correlation_id, event.event_id) = ANY(%(correlations)s::uuid[])
            OR event.causation_id = ANY(%(causes)s::uuid[])
            OR event.event_id = ANY(%(causes)s::uuid[])
        )
    ORDER BY event.id
    LIMIT {MOST_EVENTS + 1}
) AS event
{SMALL}
ORDER BY event.id
"""

ENTRIES = """
SELECT
    command_id, applied_at, project_id, left(idempotency_key, 300) AS idempotency_key, left(type, 100) AS name,
    verdict, code, left(message, 500) AS message, NULL::text AS result, left(actor, 300) AS actor,
    nullif(left(sender, 100), '') AS sender
FROM public.command_ledger
WHERE command_id = ANY(%(ids)s::uuid[])
"""


@dataclass
class Node:
    """A command, an event, or a message that is known by its id alone, with what it caused."""

    id: str
    line: Line | None = None
    command: Entry | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def at(self) -> float:
        """When it was, for their order."""
        if self.line is not None:
            return self.line.occurred_at.timestamp()
        if self.command is not None:
            return self.command.applied_at.timestamp()
        return min((child.at for child in self.children), default=0.0)


class Causes(NamedTuple):
    """The trees of a conversation."""

    roots: list[Node]
    events: int
    looked_from: int
    looked_to: int
    is_cut: bool
    """Whether there may be more events than are shown."""


async def causes_of(database: Database, *, correlations: set[str], ids: set[str], around: int, is_wide: bool) -> Causes:
    """What belongs to `correlations`, and what the events and commands `ids` were caused by and caused.

    `around` is the outbox id of an event of them. Raises `RegistryError`.
    """
    reach = WIDE if is_wide else NEAR
    first, last = max(around - reach, 1), around + reach
    lines: dict[str, Line] = {}
    known, causes = set(correlations), set(ids)
    is_cut = False
    for _ in range(ROUNDS):
        values = {"first": first, "last": last, "correlations": sorted(known), "causes": sorted(causes)}
        found = await database.rows(Line, RELATED, values)
        is_cut = len(found) > MOST_EVENTS
        fresh = {line.event_id: line for line in found[:MOST_EVENTS] if line.event_id not in lines}
        lines |= fresh
        more = {line.event_id for line in fresh.values()}
        more |= {line.causation_id for line in fresh.values() if line.causation_id}
        if is_cut or not fresh or more <= causes:
            break
        causes |= more
        known |= {line.correlation_id for line in fresh.values()}
    else:  # further steps were not followed
        is_cut = True
    wanted = {line.causation_id for line in lines.values() if line.causation_id} | causes
    commands = await _entries(database, sorted(wanted - lines.keys()))
    return Causes(_trees(lines, {str(one.command_id): one for one in commands}), len(lines), first, last, is_cut)


async def _entries(database: Database, ids: list[str]) -> list[Entry]:
    """Those of the ids that are commands; none where this login may not read the ledger."""
    try:
        return await database.rows(Entry, ENTRIES, {"ids": ids})
    except Unprepared:
        return []


def _trees(lines: dict[str, Line], commands: dict[str, Entry]) -> list[Node]:
    """Each event below what caused it; what nothing is known to have caused is a root, the oldest first."""
    nodes = {id_: Node(id_, command=entry) for id_, entry in commands.items()}
    nodes |= {id_: Node(id_, line=line) for id_, line in lines.items()}
    roots: list[Node] = [node for node in nodes.values() if node.line is None]
    for line in lines.values():
        node, cause = nodes[line.event_id], line.causation_id
        if cause is None or cause == line.event_id:
            roots.append(node)
            continue
        if cause not in nodes:
            nodes[cause] = Node(cause)
            roots.append(nodes[cause])
        nodes[cause].children.append(node)
    for node in nodes.values():
        node.children.sort(key=lambda child: (child.at, child.line.id if child.line else 0))
    return sorted(_without_circles(roots, nodes), key=lambda node: node.at)


def _without_circles(roots: list[Node], nodes: dict[str, Node]) -> list[Node]:
    """Anybody may say what caused their events: a circle has no root, so one of it becomes one, cut from its cause."""
    reached: set[str] = set()
    for root in roots:
        _reach(root, reached)
    for node in sorted(nodes.values(), key=lambda one: one.at):
        if node.id not in reached:
            for other in nodes.values():
                if node in other.children:
                    other.children.remove(node)
            roots.append(node)
            _reach(node, reached)
    return roots


def _reach(node: Node, reached: set[str]) -> None:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.id not in reached:
            reached.add(one.id)
            waiting += one.children
