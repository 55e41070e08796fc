"""How many events of each project wait, and which transactions need not wait behind them.

An event may go before others as long as those of its project stay in order, and it is none on which events of other
projects rest. The argument: docs/adr/0020-lane.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable

from publisher.outbox.ranges import RangeSet
from publisher.outbox.scout import Kind, Newest, News
from registry.events.message import OutboxRow

OVERTAKING = frozenset(
    {
        "activity.logged",
        "command.applied",
        "command.rejected",
        "worktree.claimed",
        "worktree.git_state_updated",
        "worktree.merged",
        "worktree.released",
    }
)
"""Events of a project that change no name, path or reference, and make or remove nothing."""
RESTED_ON_BY_NONE = frozenset({"command.applied", "command.rejected", "registry.heartbeat"})
"""Of events without a project, those that hold up no others."""
MOST_BYTES = 4096
"""Data of what overtakes has no more bytes, as PostgreSQL stores it."""


class Waiting:
    """How many events of each project are committed and not in the stream: those read, and those only looked at."""

    def __init__(self) -> None:
        self._projects: dict[int, str | None] = {}
        """Of each event that was read and is not acknowledged, by its outbox id."""
        self._counts: Counter[str | None] = Counter()
        self._looked_at = RangeSet()
        """Ids of events that were counted before they were read."""
        self._first_unseen = 0
        """Transactions with lower ids may have been looked at in part."""

    def read(self, rows: Iterable[OutboxRow]) -> None:
        """Note the rows of a page."""
        for row in rows:
            if _is_counted(Kind(row.project_id, row.entity, row.action)):
                self._projects[row.id] = row.project_id
                if row.id not in self._looked_at:
                    self._counts[row.project_id] += 1

    def passed(self, ids: Iterable[int]) -> None:
        """Note that events are in the stream, or will not be."""
        for id_ in ids:
            if id_ in self._projects:
                project_id = self._projects.pop(id_)
                self._counts[project_id] -= 1
                if not self._counts[project_id]:
                    del self._counts[project_id]

    def forget(self) -> None:
        """Note that everything visible was read: nothing is counted that was only looked at."""
        self._looked_at = RangeSet()
        self._counts = Counter(self._projects.values())

    def known(self, seen: RangeSet) -> RangeSet:
        """The ids at which nobody need look: those `seen`, as published or read, and those counted already."""
        known = seen.copy()
        for low, high in self._looked_at:
            known.add(low, high)
        return known

    def overtaking(self, news: News, publishes: Callable[[str, str], bool], reading: Collection[int]) -> RangeSet:
        """Count the events of `news`; returns the ids of those that may be sent before all that waits.

        Whole transactions: all of whose events may, of projects of which nothing else waits. None of those in
        `reading`, of which a page may have had a part. `publishes` tells which events (entity, action) go into the
        stream.
        """
        self._looked_at.add_ranges(news.ids)
        for kind, count in news.counted.items():
            if _is_counted(kind):
                self._counts[kind.project_id] += count
        if not news.is_complete:
            self._first_unseen = news.first_unseen
        chosen: defaultdict[int, list[Newest]] = defaultdict(list)
        if news.is_complete and None not in self._counts:
            for row in news.newest:
                if row.transaction_id >= self._first_unseen and row.transaction_id not in reading:
                    chosen[row.transaction_id].append(row)
        held = [id_ for id_, rows in chosen.items() if not all(_may_overtake(row, publishes) for row in rows)]
        while True:
            for id_ in held:
                del chosen[id_]
            held = self._behind_others(chosen)
            if not held:
                break
        ids = RangeSet()
        ids.add_all(sorted(row.id for rows in chosen.values() for row in rows))
        return ids

    def _behind_others(self, chosen: dict[int, list[Newest]]) -> list[int]:
        """Those of the `chosen` transactions with a project of which something else waits."""
        theirs = Counter(row.kind.project_id for rows in chosen.values() for row in rows)
        held = {project_id for project_id, count in theirs.items() if count < self._counts[project_id]}
        return [id_ for id_, rows in chosen.items() if any(row.kind.project_id in held for row in rows)]


def _is_counted(kind: Kind) -> bool:
    return kind.project_id is not None or f"{kind.entity}.{kind.action}" not in RESTED_ON_BY_NONE


def _may_overtake(row: Newest, publishes: Callable[[str, str], bool]) -> bool:
    project_id, entity, action = row.kind
    if project_id is None or f"{entity}.{action}" not in OVERTAKING or row.data_bytes > MOST_BYTES:
        return False
    return publishes(entity, action)
