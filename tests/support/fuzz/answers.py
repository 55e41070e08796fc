"""Readers of what servers, services and other processes say: an answer comes from whoever may answer there."""

from __future__ import annotations

import json
from collections.abc import Callable

import nats.js.errors
from nats.js.api import RawStreamMsg

from publisher.actions import _entry as action_of
from publisher.agreement.standing import Standing
from publisher.cli.servers.probe import readiness
from publisher.history.service import _time_in
from publisher.mirror.batch import pending_of
from publisher.replica.reason import of_json
from publisher.replica.reason import of_text as of_plain_log
from publisher.stream.acknowledgements import stored_at
from registry.broker.askers import account_in
from registry.broker.jetstream import answer_in
from registry.broker.journal import Line, _line
from registry.broker.own_stream import _limits_in
from registry.client.queries import _answer_in, _data_in
from registry.client.sender import _outcome_in
from registry.client.snapshot import _position
from registry.dead_letters.record import _record
from registry.errors import RegistryError
from registry.history.pages import Replayed
from registry.history.site import Site, WholeHead
from registry.position import Position
from registry.queries import QUERIES
from registry.schemas.files import _read as read_schema
from tests.support.fuzz.files import in_file
from tests.support.fuzz.reader import EVENTS, ID, Reader, examples, of_text

ORIGIN = "git@github.com:33god/imi.git"
SITE = {"registry_id": ID, "life": "7412", "epoch": 1, "migration": 18, "sequence": 42, "outbox_id": 43}
STANDING = {"project_id": ID, "registered_at": "2026-01-21T10:00:00+00:00"}
ACTION = {"at": "2026-01-21T10:00:00.000+00:00", "who": "ada", "what": "dead letter: drop", "about": "janitor 3"}
ACTION |= {"outcome": "dropped", "is_well": True, "id": ID, "means": "console", "host": "laptop"}
RECORD = {"at": "2026-01-21T10:00:00.000+00:00", "actor": "ada", "action": "drop", "durable": "janitor", "number": 3}
RECORD |= {"event": "worktree.merged", "event_id": ID, "sequence": 42, "reason": "Traceback"}
STORED = {"stream": "IMI_EVENTS", "seq": 42}
REFUSED = {"error": {"code": 400, "err_code": 10071, "description": "wrong last sequence: 41"}, "stream": "IMI_EVENTS"}
LINES = {"error": {"code": 400, "err_code": 10071, "description": "two\nlines" * 1000}}
STREAMS = {"type": "io.nats.jetstream.api.v1.stream_names_response", "total": 1, "offset": 0, "streams": ["IMI_DL_a"]}
NOT_FOUND = {"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}
OUTCOME = {"command_id": ID, "verdict": "applied", "message": "applied", "result": {"project_id": ID}}
WORKER = {"backend_type": "logical replication apply worker", "pid": 7, "error_severity": "ERROR"}
LOG = [
    {"pid": 7, "message": 'logical replication apply worker for subscription "imi" has started'},
    WORKER | {"message": "duplicate key value violates unique constraint", "detail": "Key (id)=(1) already exists."},
]
PLAIN_LOG = (
    b'2026-01-21 10:00:00 UTC [7] LOG:  logical replication apply worker for subscription "imi" has started\n'
    b"2026-01-21 10:00:01 UTC [7] ERROR:  duplicate key value\n"
    b"2026-01-21 10:00:01 UTC [7] DETAIL:  Key (id)=(1) already exists.\n"
)


def seeds(*documents: object) -> list[bytes]:
    """Documents as they are sent."""
    return [json.dumps(document).encode() for document in documents]


def of_line(take: Callable[[Line], object]) -> Callable[[bytes], object]:
    """A reader of a journal's line as one of the message that holds it."""

    def read(data: bytes) -> object:
        line = _line(RawStreamMsg(data=data))
        return None if line is None else take(line)

    return read


def pending(data: bytes) -> object:
    return pending_of(Replayed("imi.evt.v1.a.b.c", data, Position(1, 2)))


ANSWERS = {
    "site of a registry": Reader(Site.decode, seeds(SITE)),
    "beginning of a whole snapshot": Reader(WholeHead.decode, seeds({"position": "1.42.17.0", "site": SITE})),
    "beginning of a snapshot": Reader(_position, seeds({"position": "1.42.17.0"})),
    "id in the bucket of agreement": Reader(lambda data: Standing.decode(ORIGIN, data), seeds(STANDING), ()),
    "action in the log": Reader(of_line(action_of), seeds(ACTION), ()),
    "what was done with a dead letter": Reader(of_line(_record), seeds(RECORD), ()),
    "limits in a stream's metadata": Reader(of_text(_limits_in), seeds({"max_msgs": 5}), ()),
    "acknowledgement": Reader(lambda data: stored_at("IMI_EVENTS", data), seeds(STORED, REFUSED, LINES)),
    "answer of JetStream": Reader(answer_in, seeds(STREAMS, NOT_FOUND), (RegistryError, nats.js.errors.APIError)),
    "outcome of a command": Reader(lambda data: _outcome_in(data, "project.register"), seeds(OUTCOME)),
    "pieces of an event": Reader(of_text(_data_in), EVENTS),
    "event for a mirror": Reader(pending, EVENTS),
    "time of a history request": Reader(_time_in, [b"2026-01-21T10:00:00+00:00"]),
    "answer about readiness": Reader(
        of_text(lambda body: readiness(body, "127.0.0.1:9464")), seeds({"role": "leader", "problems": ["x"]})
    ),
    "log of PostgreSQL": Reader(
        of_text(lambda log: of_json(log, "imi")), [b"\n".join(seeds(*LOG)), *seeds(LOG[1])], ()
    ),
    "log of PostgreSQL, plain": Reader(of_text(lambda log: of_plain_log(log, "imi")), [PLAIN_LOG], ()),
    "account of who asks": Reader(of_text(account_in), seeds({"acc": "FLUME", "rtt": 473986}), ()),
    "schema in a file": Reader(in_file(read_schema), seeds({"type": "object"})),
}


def of_answer(name: str) -> Reader:
    """The reader of the answers to a query."""
    answers = examples("queries").get(f"{name}.response.v1", [{}])
    return Reader(lambda data: _answer_in(name, QUERIES[name].response, data), seeds(*answers))


ANSWERS |= {f"answer to {name}": of_answer(name) for name in QUERIES}
