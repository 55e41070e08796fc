"""What overtakes a backlog, against a model: transactions that write and end, a relay that reads, looks and sends."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from publisher.outbox.page import Page
from publisher.outbox.ranges import RangeSet, runs
from publisher.outbox.scout import Kind, Newest, News
from publisher.relay.batching import take
from publisher.relay.waiting import OVERTAKING, RESTED_ON_BY_NONE, Waiting
from registry.events.message import Message, OutboxRow

KINDS = [
    *(Kind(project, "worktree", action) for project in "PQR" for action in ("claimed", "released", "created")),
    Kind(None, "worktree_type", "added"),
    Kind(None, "command", "applied"),
    Kind("P", "command", "applied"),
]
PLAIN = [kind for kind in KINDS if kind.action in {"claimed", "released"}]
BEGIN, WRITE, COMMIT, ROLL_BACK, READ, LOOK, SEND = range(7)
# Few reads and many looks: else there is no backlog to be overtaken.
WEIGHTED = [BEGIN] * 3 + [WRITE] * 8 + [COMMIT] * 3 + [ROLL_BACK] + [READ] + [LOOK] * 3 + [SEND] * 2
STEPS = st.lists(st.tuples(st.sampled_from(WEIGHTED), st.integers(0, 63)), min_size=20, max_size=150)


class Event(NamedTuple):
    """A row of the outbox, and when it was written."""

    id: int
    transaction_id: int
    kind: Kind
    time: int


class Model:
    """An outbox, and a relay with a lane that publishes it. Each step is one moment."""

    def __init__(self) -> None:
        self.time = 0
        self.allocated = 0
        self.next_transaction = 100
        self.running: dict[int, list[Event]] = {}
        self.committed: dict[int, int] = {}
        """Transaction id to the time of its commit."""
        self.visible: dict[int, Event] = {}
        self.seen = RangeSet()
        self.waiting = Waiting()
        self.unsent: list[Message] = []
        self.lane: list[Message] = []
        self.stream: list[int] = []

    def step(self, kind: int, number: int) -> None:
        """One thing that happens; `number` chooses what it happens to."""
        self.time += 1
        if kind == BEGIN:
            self.running[self.next_transaction] = []
            self.next_transaction += 1
        elif kind == READ:
            self.read(limit=1 + number % 8)
        elif kind == LOOK:
            self.look(most=2 + number % 32, newest=self.allocated - number % 7, is_readable=number % 5 > 0)
        elif kind == SEND:
            self.send(limit=1 + number % 5)
        elif self.running:
            chosen = sorted(self.running)[number % len(self.running)]
            if kind == WRITE:
                # Mostly of one project, so that one has much to wait for and others have not.
                self.write(chosen, KINDS[number % len(KINDS)] if number % 3 else PLAIN[number % len(PLAIN)])
            else:
                self.end(chosen, commits=kind == COMMIT)

    def write(self, transaction_id: int, kind: Kind) -> None:
        self.allocated += 1
        self.running[transaction_id].append(Event(self.allocated, transaction_id, kind, self.time))

    def end(self, transaction_id: int, *, commits: bool) -> None:
        events = self.running.pop(transaction_id)
        if commits:
            self.committed[transaction_id] = self.time
            self.visible.update((event.id, event) for event in events)

    def read(self, limit: int) -> bool:
        """The relay reads a page; returns whether it shows that there is nothing more."""
        found = self._unknown(self.seen)[:limit]
        self.seen.add_all(event.id for event in found)
        self.waiting.read(page(found, is_full=len(found) == limit))
        self.unsent += map(message, found)
        return not found

    def look(self, *, most: int, newest: int, is_readable: bool = True) -> None:
        """The relay looks ahead, as `publisher/outbox/scout.py` does, and reads what may overtake."""
        if self.lane:
            return
        found = self._unknown(self.waiting.known(self.seen))[:most]
        older = {event.transaction_id for event in found if event.id < newest}
        news = News(
            runs(event.id for event in found),
            {kind: _number_and_last(found, kind) for kind in {event.kind for event in found}},
            [
                Newest(event.id, event.transaction_id, event.kind, 100)
                for event in found
                if event.id >= newest and event.transaction_id not in older
            ],
            is_complete=len(found) < most,
            first_unseen=max((event.transaction_id for event in found), default=-1) + 1,
        )
        reading = {waiting.transaction_id for waiting in self.unsent}
        chosen = self.waiting.overtaking(news, lambda _entity, _action: True, reading)
        if is_readable:
            self.seen.add_all(row.id for row in chosen)
            self.lane += [message(self.visible[row.id]) for row in chosen]
        self.waiting.look(news, chosen if is_readable else ())

    def send(self, limit: int) -> None:
        if self.lane:
            batch, self.lane = take(self.lane, limit)
        else:
            batch, self.unsent = take(self.unsent, limit)
        ids = [sent.outbox_id for sent in batch]
        self.stream += ids
        self.waiting.passed(ids)

    def publish_all(self) -> None:
        """All transactions end, and the relay comes to the end of the outbox."""
        for transaction_id in sorted(self.running):
            self.time += 1
            self.end(transaction_id, commits=True)
        while not self.read(limit=3) or self.unsent or self.lane:
            self.send(limit=3)

    def check(self) -> None:
        """Each event is in the stream once, behind those that it rests on."""
        assert sorted(self.stream) == sorted(self.visible)
        place = {id_: number for number, id_ in enumerate(self.stream)}
        for event in self.visible.values():
            for earlier in self.visible.values():
                was_seen = earlier.id != event.id and self.committed[earlier.transaction_id] < event.time
                if was_seen and rests_on(event.kind, earlier.kind):
                    assert place[earlier.id] < place[event.id], f"{event} stands before {earlier}"

    def _unknown(self, known: RangeSet) -> list[Event]:
        return [event for id_, event in sorted(self.visible.items()) if id_ not in known]


def _number_and_last(events: list[Event], kind: Kind) -> tuple[int, int]:
    ids = [event.id for event in events if event.kind == kind]
    return len(ids), max(ids)


def rests_on(kind: Kind, earlier: Kind) -> bool:
    """Whether an event must stand behind an earlier one that its transaction had seen."""
    if f"{kind.entity}.{kind.action}" not in OVERTAKING or kind.project_id is None:
        return True
    if earlier.project_id is None:
        return f"{earlier.entity}.{earlier.action}" not in RESTED_ON_BY_NONE
    return kind.project_id == earlier.project_id


def page(events: list[Event], *, is_full: bool) -> Page:
    rest: list[Any] = [None] * (len(OutboxRow._fields) - 6)
    rows = []
    for event in events:
        project_id, entity, action = event.kind
        rows.append(OutboxRow(event.id, event.transaction_id, "", entity, action, project_id, *rest))
    return Page(rows, is_full, oldest_running=0, allocated=0)


def message(event: Event) -> Message:
    return Message("", b"", event.id, "", event.transaction_id, False, "", "")


@given(STEPS)
@settings(max_examples=300)
def test_no_event_overtakes_one_that_it_rests_on(steps: list[tuple[int, int]]) -> None:
    model = Model()
    for kind, number in steps:
        model.step(kind, number)
    model.publish_all()
    model.check()


def backlog_of(project: str) -> Model:
    """Forty transactions of one project, of which the relay has read four."""
    model = Model()
    for _ in range(40):
        committed(model, Kind(project, "worktree", "claimed"))
    model.read(limit=4)
    return model


def committed(model: Model, *kinds: Kind) -> None:
    model.time += 1
    transaction_id = model.next_transaction
    model.step(BEGIN, 0)
    for kind in kinds:
        model.write(transaction_id, kind)
    model.time += 1
    model.end(transaction_id, commits=True)


def test_an_event_of_another_project_goes_first() -> None:
    model = backlog_of("P")
    committed(model, Kind("Q", "worktree", "claimed"), Kind("Q", "command", "applied"))
    model.look(most=1000, newest=30)
    model.send(limit=10)
    assert model.stream == [41, 42]


def test_an_event_waits_for_those_of_its_own_project() -> None:
    model = backlog_of("P")
    committed(model, Kind("Q", "worktree", "claimed"), Kind("P", "worktree", "claimed"))
    committed(model, Kind("Q", "worktree", "released"))
    model.look(most=1000, newest=30)
    assert not model.lane


def test_an_event_waits_behind_what_belongs_to_no_project() -> None:
    model = backlog_of("P")
    committed(model, Kind(None, "worktree_type", "added"))
    committed(model, Kind("Q", "worktree", "claimed"))
    model.look(most=1000, newest=30)
    assert not model.lane


def test_what_makes_a_worktree_waits() -> None:
    model = backlog_of("P")
    committed(model, Kind("Q", "worktree", "created"))
    model.look(most=1000, newest=30)
    assert not model.lane


def test_a_transaction_that_was_looked_at_in_part_waits() -> None:
    model = backlog_of("P")
    committed(model, Kind("Q", "worktree", "claimed"), Kind("R", "worktree", "claimed"))
    model.look(most=37, newest=30)
    model.look(most=1000, newest=42)
    assert not model.lane


def test_what_is_committed_behind_a_bulk_that_is_looked_at_in_parts_goes_first() -> None:
    model = backlog_of("P")
    committed(model, Kind("Q", "worktree", "claimed"))
    for _ in range(3):
        model.look(most=15, newest=41)
    assert [waiting.outbox_id for waiting in model.lane] == [41]


def test_a_backlog_that_is_over_holds_up_nobody() -> None:
    model = backlog_of("P")
    model.look(most=1000, newest=30)
    assert model.read(limit=1000) is False
    model.send(limit=1000)
    for _ in range(10):
        committed(model, Kind("Q", "worktree", "claimed"))
    model.read(limit=2)
    committed(model, Kind("P", "worktree", "released"))
    model.look(most=1000, newest=51)
    assert [waiting.outbox_id for waiting in model.lane] == [51]


def test_an_event_waits_for_one_that_became_visible_behind_the_pages() -> None:
    model = Model()
    model.step(BEGIN, 0)
    late = model.next_transaction - 1
    model.write(late, Kind("Q", "worktree", "claimed"))
    for _ in range(40):
        committed(model, Kind("P", "worktree", "claimed"))
    model.read(limit=20)
    model.time += 1
    model.end(late, commits=True)
    model.look(most=1000, newest=41)
    committed(model, Kind("Q", "worktree", "released"))
    model.look(most=1000, newest=41)
    assert not model.lane
