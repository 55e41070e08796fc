"""Of which projects events wait, and which transactions need not wait behind them.

An event may go before others as long as those of its project stay in order, and it is none on which events of other
projects rest. The argument: docs/adr/0018-lane.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable

from publisher.outbox.page import Page
from publisher.outbox.ranges import RangeSet
from publisher.outbox.scout import Kind, Newest, News

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
    """The projects of events that are committed and not in the stream: those read, and those only looked at.

    What belongs to no project counts as one of its own, None.
    """

    def __init__(self) -> None:
        self._read: dict[int, str | None] = {}
        """The projects of events that were read and are not acknowledged, by outbox id."""
        self._looked_at = RangeSet()
        """Ids of events that were looked at since everything visible was read."""
        self._unread: dict[str | None, int] = {}
        """Of each project with events that were looked at: once a page has ended behind this id, all are read."""
        self._read_end = 0
        """How far the pages have come."""
        self._first_unseen = 0
        """Transactions with lower ids may have been looked at in part."""

    def read(self, page: Page) -> None:
        """Note what a page shows."""
        self._read.update((row.id, row.project_id) for row in page.rows if row.project_id is not None)
        for row in page.rows:
            if row.project_id is None and _is_rested_on(row.entity, row.action):
                self._read[row.id] = None
        if page.end is not None:
            self._read_end = max(self._read_end, page.end)
        elif self._looked_at:
            self._looked_at = RangeSet()
            self._unread.clear()
            self._read_end = self._first_unseen = 0

    def passed(self, ids: Iterable[int]) -> None:
        """Note that events are in the stream, or will not be."""
        for id_ in ids:
            self._read.pop(id_, None)

    def known(self, seen: RangeSet) -> RangeSet:
        """The ids at which nobody need look: those `seen`, as published or read, and those looked at already."""
        known = seen.copy()
        for low, high in self._looked_at:
            known.add(low, high)
        return known

    def overtaking(self, news: News, publishes: Callable[[str, str], bool], reading: Collection[int]) -> list[Newest]:
        """The events of `news` that may be sent before all that waits, ascending by id.

        Whole transactions: all of whose events may, of projects of which nothing else waits. None of those in
        `reading`, of which a page may have had a part. `publishes` tells which events (entity, action) go into the
        stream.
        """
        others = {project_id for project_id, end in self._unread.items() if end >= self._read_end}
        others.update(self._read.values())
        theirs = _of_projects(news)
        if not news.is_complete or None in others or None in theirs:
            return []
        chosen: defaultdict[int, list[Newest]] = defaultdict(list)
        for row in news.newest:
            if row.transaction_id >= self._first_unseen and row.transaction_id not in reading:
                chosen[row.transaction_id].append(row)
        held = [id_ for id_, rows in chosen.items() if not all(_may_overtake(row, publishes) for row in rows)]
        while True:
            for id_ in held:
                del chosen[id_]
            counts = Counter(row.kind.project_id for rows in chosen.values() for row in rows)
            behind = others | {project_id for project_id, count in counts.items() if count < theirs[project_id]}
            held = [id_ for id_, rows in chosen.items() if any(row.kind.project_id in behind for row in rows)]
            if not held:
                return sorted(row for rows in chosen.values() for row in rows)

    def look(self, news: News, taken: Iterable[Newest]) -> None:
        """Note what a look shows; the events that were `taken` are read."""
        self._looked_at.add_ranges(news.ids)
        if not news.is_complete:
            self._first_unseen = max(self._first_unseen, news.first_unseen)
        self._read.update((row.id, row.kind.project_id) for row in taken)
        are_read = {row.kind.project_id for row in taken}  # all of such a project's were
        for kind, (_, last) in news.kinds.items():
            if kind.project_id not in are_read and _is_counted(kind):
                end = max(last, self._read_end, self._unread.get(kind.project_id, 0))
                self._unread[kind.project_id] = end


def _of_projects(news: News) -> Counter[str | None]:
    """How many events of each project there are in `news`."""
    counts: Counter[str | None] = Counter()
    for kind, (count, _) in news.kinds.items():
        if _is_counted(kind):
            counts[kind.project_id] += count
    return counts


def _is_counted(kind: Kind) -> bool:
    return kind.project_id is not None or _is_rested_on(kind.entity, kind.action)


def _is_rested_on(entity: str, action: str) -> bool:
    """Whether an event without a project holds up others."""
    return f"{entity}.{action}" not in RESTED_ON_BY_NONE


def _may_overtake(row: Newest, publishes: Callable[[str, str], bool]) -> bool:
    project_id, entity, action = row.kind
    if project_id is None or f"{entity}.{action}" not in OVERTAKING or row.data_bytes > MOST_BYTES:
        return False
    return publishes(entity, action)
