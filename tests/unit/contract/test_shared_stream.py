"""What goes into the pipeline's shared stream, judged by its contract alone, in both grammars."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from registry.commands import COMMANDS, Outcome
from registry.commands.reading import Command, read
from registry.errors import Conflict, Invalid
from registry.events import VERSIONS
from registry.events.message import OutboxRow
from registry.events.reference import UNREADABLE, Omission
from registry.profiles.bloodbank import BloodbankProfile, Shared
from registry.profiles.grammar import GRAMMARS, PLAIN, V1, is_bound
from registry.profiles.paths import without_paths
from registry.profiles.profile import profile_named
from tests.support.commands import envelope
from tests.support.documents.pages import DOCS, blocks
from tests.support.pipeline_contract import REQUIRED, faults

EVENT = str(UUID(int=7))
HOLYFIELDS = DOCS / "bloodbank" / "schemas" / "bloodbank" / "workspace"
BOUND = {"plain": ["bloodbank.evt.>"], "v1": ["bloodbank.evt.v1.>"]}
QUEUE = {"plain": ["bloodbank.cmd.>", "bloodbank.rpy.>"], "v1": ["bloodbank.cmd.v1.>", "bloodbank.rpy.v1.>"]}
EVENTS = [name for name in VERSIONS if name != "registry.heartbeat"]
OURS = [name for name in EVENTS if name.startswith("worktree.")]
SENT = ["worktree.register", "worktree.claim", "worktree.merge", "worktree.remove"]
SENDERS = {"time": "2026-01-21T10:00:00Z", "datacontenttype": "application/json"}
"""What a client adds to a command in any profile."""
both_grammars = pytest.mark.parametrize("grammar", GRAMMARS)


def profile(grammar: str = "plain", **shared: Any) -> BloodbankProfile:
    made = profile_named("bloodbank", shared=Shared(**shared)).on_streams(BOUND[grammar], QUEUE[grammar])
    assert isinstance(made, BloodbankProfile)
    return made


def example(models: Any) -> dict[str, Any]:
    (found,) = models.model_config["json_schema_extra"]["examples"]
    return dict(found)


def row(name: str, **columns: Any) -> OutboxRow:
    entity, action = name.split(".")
    data = json.dumps(example(VERSIONS[name][0]))
    made = OutboxRow(
        42, 777, EVENT, entity, action, EVENT, EVENT, "2026-01-21T10:00:00.123456Z", None, None, None, None, data
    )
    return made._replace(**columns)


@both_grammars
@pytest.mark.parametrize("name", EVENTS)
def test_every_event_conforms_or_stays_at_home(name: str, grammar: str) -> None:
    today, proposed = profile(grammar), profile(grammar, proposed=True)
    assert today.publishes(*name.split(".")) == (name in OURS)
    assert proposed.publishes(*name.split("."))
    for columns in (
        {},
        {"actor": "ada", "causation_id": EVENT, "traceparent": "nonsense", "project_id": None},
        {"omission": Omission(UNREADABLE, "why"), "data": None},
    ):
        message = proposed.encode(row(name, **columns), 1 << 20)
        found = orjson.loads(message.payload)
        is_v1 = grammar == "v1"
        assert faults(message.subject, found, is_v1=is_v1, is_proposed=True) == []
        assert (faults(message.subject, found, is_v1=is_v1) == []) == (name in OURS)
        assert faults(message.subject, found, is_v1=not is_v1, is_proposed=True) != []
        assert found["data"]["change"] == name.partition(".")[2]
        assert ("dataref" in found) == ("omission" in columns)


def test_the_message_of_the_page_conforms_and_is_one_of_ours() -> None:
    (text,) = blocks("bloodbank.md", "json")
    shown = json.loads(text)
    assert faults(shown["subject"], shown) == []

    named = {"entity_id": shown["data"]["worktree_id"], "project_id": shown["partitionkey"], "event_id": shown["id"]}
    made = orjson.loads(profile().encode(row("worktree.claimed", actor="ada", **named), 1 << 20).payload)

    assert shown.keys() == made.keys()
    assert {name for name in made if made[name] != shown[name]} == {"data"}
    assert shown["data"].keys() - {"…"} <= made["data"].keys()


def test_the_page_names_each_attribute_that_is_ours() -> None:
    said = {"actor": "ada", "actor_is_verified": True, "host_id": EVENT, "traceparent": f"00-{1:032x}-{1:016x}-01"}
    made = orjson.loads(profile().encode(row("worktree.claimed", project_id=EVENT, **said), 1 << 20).payload)
    there = (DOCS / "bloodbank.md").read_text().partition("## A message there\n")[2].partition("\n## ")[0]

    ours = made.keys() - REQUIRED

    assert ours == {"sequence", "transactionid", "partitionkey", "hostid", "traceparent", "actorverified"}
    assert {name for name in ours if f"`{name}`" not in there} == set()


def test_a_heartbeat_never_goes_there() -> None:
    assert not profile().publishes("registry", "heartbeat")
    assert not profile(proposed=True).publishes("registry", "heartbeat")


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("paths", [True, False])
def test_the_data_keeps_to_the_schema_that_is_proposed(name: str, paths: bool) -> None:
    theirs = DRAFT202012.create_resource({})  # the schema of attributes is in their repository; `faults` has its rules
    registry = Registry().with_resource("https://33god.dev/schemas/_common/cloudevent_base.v1.json", theirs)
    found = orjson.loads(profile(proposed=True, paths=paths).encode(row(name), 1 << 20).payload)
    _, _, entity, action = found["type"].split(".")
    schema = orjson.loads((HOLYFIELDS / f"{entity}.{action}.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    judge = Draft202012Validator(schema, registry=registry)

    judge.validate(found)
    assert not judge.is_valid(found | {"data": {"change": found["data"]["change"], "changed": 5}})
    assert not judge.is_valid(found | {"data": found["data"] | {"change": "x"}})
    judge.validate(found | {"dataref": "urn:x", "data": {"change": found["data"]["change"]}})


@both_grammars
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_of_ours_conforms_or_is_refused(name: str, grammar: str) -> None:
    today, proposed = profile(grammar), profile(grammar, proposed=True)
    attributes = orjson.loads(envelope(name, example(COMMANDS[name]))) | SENDERS
    if name in SENT:
        assert today.complete_command(name, attributes) == proposed.complete_command(name, attributes)
    else:
        with pytest.raises(Invalid, match=rf"{name}: the contract of the shared stream has no such command today"):
            today.complete_command(name, attributes)
    for given in ({}, {"actor": "ada", "causationid": str(uuid4()), "correlationid": str(uuid4())}):
        made = proposed.complete_command(name, attributes | given)
        subject = proposed.commands.command_subject(name)
        assert faults(subject, made, is_v1=grammar == "v1", is_proposed=True) == []
        assert (faults(subject, made, is_v1=grammar == "v1") == []) == (name in SENT)

        again = read(orjson.dumps(made), proposed.commands.name_of(subject) or "", proposed.parse_command)
        assert (again.name, again.problem, again.data) == (name, None, example(COMMANDS[name]))
        schema = orjson.loads((HOLYFIELDS / f"{'.'.join(made['type'].split('.')[-2:])}.json").read_bytes())
        data = schema["properties"]["data"] | {"$defs": schema.get("$defs", {})}
        Draft202012Validator(data).validate(made["data"])


@both_grammars
@pytest.mark.parametrize("words", ["theirs", "ours"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_read_in_the_pipelines_words_and_in_ours(name: str, words: str, grammar: str) -> None:
    names = profile(grammar).commands
    word = names.command_subject(name).removeprefix(f"{names.command_root}.") if words == "theirs" else name
    message = {
        "specversion": "1.0",
        "id": "another in each attempt",
        "command_id": str(UUID(int=9)),
        "idempotency_key": "k",
        "delivery": "single_consumer",
        "source": "urn:33god:service:flume",
        "type": f"bloodbank.{GRAMMARS[grammar].version}workspace.{word}",
        "causationid": None,
        "actor": {"type": "agent", "agent_id": "ada"},
        "data": example(COMMANDS[name]),
    }
    found = read(orjson.dumps(message), names.name_of(f"{names.command_root}.{word}") or "", profile().parse_command)
    assert (found.id, found.name, found.problem, found.actor) == (UUID(int=9), name, None, "ada")


@both_grammars
@pytest.mark.parametrize("name", COMMANDS)
def test_a_reply_conforms_and_names_its_command(name: str, grammar: str) -> None:
    command = Command(uuid4(), name, example(COMMANDS[name]), b"", uuid4(), "ada", None, None, None, None)
    outcome = Outcome(command_id=command.id, verdict="applied", result={"worktree_id": EVENT})
    there = profile(grammar)
    reply = orjson.loads(there.reply(command, outcome))
    subject = there.commands.reply_subject(name, command.id)
    assert faults(subject, reply, is_v1=grammar == "v1", is_proposed=name not in SENT) == []
    assert (reply["causationid"], reply["correlationid"]) == (str(command.id), str(command.correlation_id))
    assert Outcome.model_validate(reply["data"]) == outcome
    assert reply["id"] == orjson.loads(there.reply(command, outcome))["id"]


def test_commands_about_one_worktree_have_one_ordering_key() -> None:
    def key(name: str, /, **data: str) -> str:
        made = profile().complete_command(name, orjson.loads(envelope(name, data)))
        return str(made["ordering_key"])

    created = key("worktree.register", path="/w/x", name="x", remote_origin="a/b")
    assert created == key("worktree.claim", path="/w/x", agent_id="ada") != key("worktree.claim", path="/w/y")
    assert key("worktree.merge", worktree_id=EVENT) == f"worktree:{EVENT}"


def test_no_command_is_taken_that_is_not_ours() -> None:
    names = profile().commands
    root = "bloodbank.cmd.workspace"
    every = [f"{root}.{entity}.*" for entity in ("worktree", "project", "worktree_type", "activity")]
    assert names.taken_from(["bloodbank.cmd.>"]) == every
    assert names.taken_from([f"{root}.worktree.>", f"{root}.branch.>"]) == every[:1]
    assert names.taken_from([f"{root}.worktree.create", f"{root}.branch.*"]) == [f"{root}.worktree.create"]


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (["bloodbank.evt.>"], PLAIN),
        (["bloodbank.>"], PLAIN),
        (["bloodbank.evt.workspace.worktree.*"], PLAIN),
        (["bloodbank.evt.*.*.*"], PLAIN),
        (["bloodbank.evt.v1.>"], V1),
        (["other.>", "bloodbank.evt.v1.workspace.*.*"], V1),
        (["bloodbank.evt.v1.>", "bloodbank.evt.workspace.>"], PLAIN),
    ],
)
def test_the_grammar_is_that_of_what_is_bound_to_the_stream(bound: list[str], expected: object) -> None:
    made = profile_named("bloodbank").on_streams(bound, None)
    assert made.event_subjects == f"{expected.root('evt')}.>"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "bound",
    [
        [],
        ["bloodbank.evt"],
        ["bloodbank.evt.agent.>"],
        ["bloodbank.evt.v2.>"],
        ["bloodbank.cmd.>"],
        ["bloodbank.evt.workspace.worktree.created"],
        ["bloodbank.evt.*.*"],
    ],
)
def test_a_stream_that_does_not_take_our_subjects_is_refused_by_name(bound: list[str]) -> None:
    with pytest.raises(Conflict, match="stream BLOODBANK_EVENTS does not take our subjects: bound to it is ") as told:
        profile_named("bloodbank").on_streams(bound, None)
    assert ", ".join(bound) in str(told.value)
    with pytest.raises(Conflict, match="stream BLOODBANK_COMMANDS does not take our subjects"):
        profile_named("bloodbank").on_streams(None, bound if bound != ["bloodbank.cmd.>"] else ["bloodbank.evt.>"])


def test_a_setting_decides_the_grammar_and_a_stream_of_the_other_one_is_refused() -> None:
    v1 = profile_named("bloodbank", shared=Shared("v1"))
    assert v1.on_streams(["bloodbank.evt.>"], None).event_subjects == "bloodbank.evt.v1.workspace.>"
    with pytest.raises(Conflict, match=r"and not bloodbank\.evt\.workspace\.worktree\.created; its owner"):
        profile_named("bloodbank", shared=Shared("plain")).on_streams(["bloodbank.evt.v1.>"], None)


@pytest.mark.parametrize("source", ["urn:imi:other", "urn:33god:service:", "urn:33god:service:Imi", "flume"])
def test_a_source_that_is_no_service_of_the_pipeline_is_refused(source: str) -> None:
    with pytest.raises(Invalid, match=f'setting source: value "{source}": it must be urn:33god:service: and the name'):
        profile_named("bloodbank", source=source)


@pytest.mark.parametrize(("pattern", "is_it"), [("a.*.c", True), ("a.>", True), ("a.b", False), ("a.b.c.>", False)])
def test_what_a_wildcard_has(pattern: str, is_it: bool) -> None:
    assert is_bound([pattern], "a.b.c") == is_it


def test_no_absolute_path_is_left_and_nothing_else_changes() -> None:
    data = {
        "path": "/home/ada/my code/x",
        "trunk_path": "~/code/x",
        "file_path": "src/x.py",
        "changed": {"path": "C:\\code\\x", "name": "n"},
        "metadata": {"/home/a": [1, "/srv/x"], "/home/b": "file:///home/b", "cwd": "cwd:/home/ada, ok"},
        "description": 'see "/etc/hosts" and/or https://github.com/a/b',
        "branch_name": "feat/x",
        "remote_origin": "git@github.com:a/b.git",
        "deep": {"path": {"x": "/home/c"}},
    }
    text = json.dumps(data)[:-1] + ', "digits": 12345678901234567890123.10}'
    told = without_paths(text)
    assert json.loads(told) == {
        "path": None,
        "trunk_path": None,
        "file_path": "src/x.py",
        "changed": {"path": None, "name": "n"},
        "metadata": {"[path 1]": [1, "[path]"], "[path 2]": "[path]", "cwd": "cwd:[path] ok"},
        "description": 'see "[path]" and/or https://github.com/a/b',
        "branch_name": "feat/x",
        "remote_origin": "git@github.com:a/b.git",
        "deep": {"path": {"x": "[path]"}},
        "digits": 12345678901234567890123.10,
    }
    assert '"digits": 12345678901234567890123.10}' in told
    found = orjson.loads(profile(paths=False).encode(row("worktree.created", data=text), 1 << 20).payload)
    assert found["data"]["path"] is None
