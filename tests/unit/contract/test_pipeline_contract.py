"""The judge of the shared stream says no: to each name that is missing, and to each value that its contract refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.pipeline_contract import MARKERS, REQUIRED, faults

Message = dict[str, Any]
ID, OTHER = "00000000-0000-4000-8000-000000000007", "00000000-0000-4000-8000-00000000000b"
WORKTREE = "worktree:00000000-0000-4000-8000-000000000009"


def names(type_: str, subject: str) -> Message:
    """The attributes in which the name of a message stands."""
    return {
        "type": type_,
        "subject": subject,
        "dataschema": f"apicurio://holyfields/{type_}/versions/1",
        "schemaref": f"{type_}.v1",
    }


def message(kind: str, marker: str, action: str, **attributes: Any) -> Message:
    return {
        "specversion": "1.0",
        "id": ID,
        "source": "urn:33god:service:imi",
        **names(f"bloodbank.workspace.worktree.{action}", f"bloodbank.{marker}.workspace.worktree.{action}"),
        "time": "2026-01-21T10:00:00.123456Z",
        "datacontenttype": "application/json",
        "correlationid": ID,
        "causationid": None,
        "producer": "imi-registry",
        "service": "imi",
        "kind": kind,
        "domain": "workspace",
        "actor": {"type": "agent", "agent_id": "ada"},
        "ordering_key": WORKTREE,
        "data": {},
    } | attributes


GOOD = {
    "event": message("event", "evt", "created"),
    "command": message(
        "command", "cmd", "create", command_id=ID, idempotency_key="k", delivery="single_consumer", correlationid=ID
    ),
    "reply": message("reply", "rpy", "create", causationid=OTHER, data={"command_id": OTHER}),
}
WRONG: list[tuple[str, Message, list[str]]] = [
    ("event", {"specversion": "0.3"}, ["specversion or datacontenttype is another"]),
    ("event", {"datacontenttype": "text/plain"}, ["specversion or datacontenttype is another"]),
    ("event", {"id": "seven"}, ["id is no UUID: 'seven'"]),
    ("event", {"id": ID.replace("-", "")}, [f"id is no UUID: '{ID.replace('-', '')}'"]),
    ("event", {"correlationid": None}, ["correlationid is no UUID: None"]),
    ("event", {"causationid": "seven"}, ["causationid is neither a UUID nor null: 'seven'"]),
    ("event", {"source": "urn:x"}, ["source 'urn:x'"]),
    ("event", {"time": "2026-01-21T10:00:00"}, ["time '2026-01-21T10:00:00'"]),
    ("event", {"time": 1_769_000_000}, ["time 1769000000"]),
    ("event", {"time": "today"}, ["time 'today'"]),
    ("event", {"producer": ""}, ["producer is no text"]),
    ("event", {"service": 5}, ["service is no text"]),
    ("event", {"data": "text"}, ["data is no object"]),
    ("event", {"actor": "ada"}, ["actor 'ada'"]),
    ("event", {"actor": {"type": "agent"}}, ["actor {'type': 'agent'}"]),
    ("event", {"actor": {"type": "", "agent_id": "a"}}, ["actor {'type': '', 'agent_id': 'a'}"]),
    ("event", {"domain": "agent"}, ["domain 'agent' of type 'bloodbank.workspace.worktree.created'"]),
    ("event", {"subject": "x"}, ["came on bloodbank.evt.workspace.worktree.created, subject 'x', expected"]),
    ("event", {"schemaref": "bloodbank.workspace.worktree.created.vx"}, ["schemaref", "dataschema"]),
    ("event", {"schemaref": "worktree.created.v1"}, ["schemaref 'worktree.created.v1'"]),
    ("event", {"dataschema": "urn:x"}, ["dataschema 'urn:x'"]),
    ("event", {"ordering_key": "worktree"}, ["ordering_key 'worktree'"]),
    ("event", {"ordering_key": "worktree:"}, ["ordering_key 'worktree:'"]),
    ("event", {"ordering_key": "project:x"}, ["ordering_key 'project:x'"]),
    ("command", {"command_id": "seven"}, ["command_id is no UUID", "a command without a cause"]),
    ("command", {"command_id": "seven", "causationid": ID}, ["command_id is no UUID"]),
    ("command", {"idempotency_key": ""}, ["idempotency_key is missing, or delivery is another"]),
    ("command", {"delivery": "broadcast"}, ["idempotency_key is missing, or delivery is another"]),
    ("command", {"correlationid": OTHER}, ["a command without a cause does not begin its own correlation"]),
    ("reply", {"causationid": None}, ["a reply does not say to which command"]),
    ("reply", {"causationid": ID}, [f"a reply to {ID} has the outcome of '{OTHER}'"]),
    ("reply", {"data": {}}, [f"a reply to {OTHER} has the outcome of None"]),
]
NAMES: list[tuple[str, str, list[str]]] = [
    ("event", "workspace.branch.created", []),
    ("event", "agent.worktree.created", ["domain 'agent' of type 'bloodbank.agent.worktree.created'"]),
    ("event", "workspace.project.created", ["entity project is not on the list"]),
    ("event", "workspace.worktree.create", ["action create is not on the list of a event"]),
    ("command", "workspace.worktree.created", ["action created is not on the list of a command"]),
    ("command", "workspace.worktree.update", ["action update is not on the list of a command"]),
    ("reply", "workspace.worktree.update", ["action update is not on the list of a reply"]),
    (
        "event",
        "v1.workspace.worktree.created",
        ["type 'bloodbank.v1.workspace.worktree.created' has other tokens", "came on"],
    ),
]


def judged(kind: str, found: Message) -> list[str]:
    """What is said of a message that came where the good one of this kind does."""
    return faults(GOOD[kind]["subject"], found)


def assert_each_begins(found: list[str], said: list[str]) -> None:
    """As many faults, each with its beginning."""
    assert len(found) == len(said), found
    assert [fault[: len(begin)] for fault, begin in zip(found, said, strict=True)] == said


@pytest.mark.parametrize("kind", GOOD)
def test_what_keeps_to_the_contract_is_let_through(kind: str) -> None:
    assert judged(kind, GOOD[kind]) == []


@pytest.mark.parametrize("name", sorted(REQUIRED))
@pytest.mark.parametrize("kind", GOOD)
def test_each_name_that_is_missing_is_told(kind: str, name: str) -> None:
    found = {other: value for other, value in GOOD[kind].items() if other != name}

    assert f"{name} is missing" in judged(kind, found)


@pytest.mark.parametrize(("kind", "values", "said"), WRONG, ids=[f"{kind} {values}"[:70] for kind, values, _ in WRONG])
def test_each_value_that_is_refused_has_its_fault_and_no_other(kind: str, values: Message, said: list[str]) -> None:
    assert_each_begins(judged(kind, GOOD[kind] | values), said)


@pytest.mark.parametrize(("kind", "name", "said"), NAMES)
def test_each_name_that_is_not_on_the_lists_has_its_fault_and_no_other(kind: str, name: str, said: list[str]) -> None:
    subject = f"bloodbank.{MARKERS[kind]}.{name}"

    named = names(f"bloodbank.{name}", subject) | {"domain": name.split(".")[-3]}

    assert_each_begins(faults(subject, GOOD[kind] | named), said)


def test_a_kind_that_is_none_is_told() -> None:
    assert "kind 'query'" in judged("event", GOOD["event"] | {"kind": "query"})


def test_a_message_that_came_on_the_subject_of_another_is_told() -> None:
    (fault,) = faults("bloodbank.evt.workspace.worktree.closed", GOOD["event"])
    assert fault.startswith(
        "came on bloodbank.evt.workspace.worktree.closed, subject 'bloodbank.evt.workspace.worktree"
    )


def test_what_is_proposed_is_let_through_where_it_is_asked_for_and_nothing_else() -> None:
    def said(kind: str, name: str, **attributes: Any) -> list[str]:
        subject = f"bloodbank.{MARKERS[kind]}.workspace.{name}"
        named = GOOD[kind] | names(f"bloodbank.workspace.{name}", subject) | attributes
        return faults(subject, named, is_proposed=True)

    assert said("event", "project.created", ordering_key="project:x") == []
    assert said("command", "worktree.update") == said("reply", "worktree.update") == []
    assert said("event", "worktree.update") == ["action update is not on the list of a event"]
    assert said("event", "agent.created") == ["entity agent is not on the list"]
