"""What PostgreSQL stores in no text, and names that come twice: refused with field, value, rule, whichever way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from publisher.history.archive import import_history
from publisher.outbox.connection import connect
from registry import exact
from registry.commands import COMMANDS
from registry.commands.reading import read
from registry.errors import Invalid
from registry.profiles.bloodbank import BloodbankProfile
from registry.queries import QUERIES, Request
from tests.support.commandline import CommandLine, command_line
from tests.support.commands import envelope
from tests.support.world import World

UNSTORABLE = {"a NUL": "a\\u0000b", "half of a pair": "\\ud800"}
TEXTS = [
    (name, field)
    for name, model in COMMANDS.items()
    for field, schema in model.model_json_schema()["properties"].items()
    if "string" in json.dumps(schema) and "uuid" not in json.dumps(schema) and "enum" not in schema
]
ASKED = [
    (name, field)
    for name, query in QUERIES.items()
    for field, schema in query.request.model_json_schema()["properties"].items()
    if "string" in json.dumps(schema) and not any(word in json.dumps(schema) for word in ("uuid", "pattern", "enum"))
] + [("search_projects", "query"), ("worktree_by_path", "path"), ("project_by_origin", "remote_origin")]
ASKED += [("search_registry", "query")]


@pytest.mark.parametrize("kind", UNSTORABLE)
@pytest.mark.parametrize(("name", "field"), TEXTS, ids=[f"{name}: {field}" for name, field in TEXTS])
def test_a_field_of_a_command(name: str, field: str, kind: str) -> None:
    (example,) = COMMANDS[name].model_config["json_schema_extra"]["examples"]  # type: ignore[index,call-overload]
    data = {**example, field: "@"}
    if field in ("project_id", "remote_origin", "worktree_id", "path") and field not in example:
        data = {key: value for key, value in data.items() if key not in ("project_id", "worktree_id")}
    payload = envelope(name, data).replace(b'"@"', f'"{UNSTORABLE[kind]}"'.encode())

    try:
        problem = read(payload, name).problem or ""
    except Invalid as error:
        problem = str(error)

    assert "NUL or half of a surrogate pair" in problem
    assert kind != "a NUL" or f"{name}: {field}: " in problem


@pytest.mark.parametrize("kind", UNSTORABLE)
@pytest.mark.parametrize(("name", "field"), ASKED)
async def test_a_field_of_a_query(world: World, name: str, field: str, kind: str) -> None:
    fields = {"project_id": "00000000-0000-4000-8000-000000000001"} if name == "working_path" else {}
    payload = json.dumps(fields | {field: "@"}).replace("@", UNSTORABLE[kind]).encode()

    async with world.queries():
        answer = await world.nats.request(f"{world.prefix}.qry.v1.{name}", payload, timeout=10)

    assert answer.headers is not None
    assert answer.headers["Nats-Service-Error-Code"] == "400"
    assert "NUL or half of a surrogate pair" in answer.headers["Nats-Service-Error"]
    assert kind != "a NUL" or f"request: {field}: " in answer.headers["Nats-Service-Error"]


@pytest.mark.parametrize("parse", [exact.loads, BloodbankProfile("imi", "urn:x").parse_command])
@pytest.mark.parametrize(
    ("where", "twice"),
    [('"actor": "a", "actor": "b", ', "actor"), ("", "name"), ("", "deep"), ('"data": {}, ', "data")],
)
def test_a_command_with_a_name_twice_is_refused_under_its_id(
    parse: Callable[[bytes, list[str]], Any], where: str, twice: str
) -> None:
    data = {
        "name": '{"name": "a", "name": "b", "remote_origin": "git@github.com:a/b.git"}',
        "deep": '{"name": "a", "remote_origin": "git@github.com:a/b.git", "metadata": {"x": [{"deep": 1, "deep": 2}]}}',
    }.get(twice, '{"name": "a", "remote_origin": "git@github.com:a/b.git"}')
    command_id = "0d1f6c0e-6f4f-4f6e-8a0e-3f1d0a4f7c55"
    payload = (
        f'{{"specversion": "1.0", "id": "{command_id}", "source": "x", {where}"type": "imi.project.register.v1",'
        f' "replyto": "_INBOX.x", "data": {data}}}'
    )

    found = read(payload.encode(), "project.register", parse)

    assert (str(found.id), found.reply_to) == (command_id, "_INBOX.x")
    assert found.problem == f'command: the name "{twice}" comes twice in one object'


async def test_an_import_with_a_name_twice_says_line_and_name(world: World) -> None:
    async with connect(world.database, "test") as conn:
        with pytest.raises(Invalid, match=r'line 1 .*the name "id" comes twice'):
            await import_history(conn, world.settings(), [b'{"id": "a", "id": "b"}\n'])


def test_a_query_with_a_name_twice_is_refused() -> None:
    from publisher.query_service.service import parse

    with pytest.raises(Invalid, match='the name "query" comes twice'):
        parse("search_projects", b'{"query": "a", "query": "b"}')
    assert isinstance(parse("search_projects", b'{"query": "a"}'), Request)


@pytest.fixture
def call(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys, DATABASE_URL=world.database, NATS_URL=world.nats_url)


def test_the_command_line_refuses_names_that_come_twice(call: CommandLine) -> None:
    for arguments in (
        ["project", "register", "--origin", "git@github.com:a/b.git", "--metadata", '{"a": 1, "a": 2}'],
        ["commands", "send", "project.register", '{"a": 1, "a": 2}'],
    ):
        done = call(*arguments)
        assert done.code == 2
        assert 'the name "a" comes twice' in done.err


HOSTILE = [
    "",
    " ",
    "\udcff",
    "\ud800",
    "x" * 100_000,
    "a\nb",
    "\x1b]52;c;x\x07",
    "-1",
    "1e400",
    "9" * 5000,
    "NaN",
    "{}",
    "*>",
]
COMMANDS_OF_PEOPLE = [
    ["project", "show", "@"],
    ["project", "register", "--origin", "@"],
    ["project", "register", "--origin", "git@github.com:a/b.git", "--name", "@"],
    ["project", "register", "--origin", "git@github.com:a/b.git", "--metadata", "@"],
    ["project", "update", "@", "--description", "@"],
    ["worktree", "show", "@"],
    ["worktree", "list", "--project", "@"],
    ["worktree", "claim", "@", "--agent", "@"],
    ["type", "add", "@", "--color", "@"],
    ["activity", "list", "--agent", "@"],
    ["activity", "list", "--limit", "@"],
    ["inflight", "--project", "@"],
    ["search", "@"],
    ["path", "@"],
    ["history", "show", "project", "@"],
    ["history", "show", "worktree", "@", "--as-of", "@"],
    ["commands", "send", "@", "@"],
    ["commands", "dead-letters", "show", "@"],
    ["events", "replay", "--since", "@"],
    ["events", "replay", "--after", "@"],
    ["events", "show", "@"],
    ["events", "tail", "--entity", "@"],
    ["schemas", "show", "@"],
    ["maintain", "cleanup-activities", "--days", "@"],
]


@pytest.mark.parametrize("arguments", COMMANDS_OF_PEOPLE, ids=[" ".join(each) for each in COMMANDS_OF_PEOPLE])
def test_no_argument_is_a_traceback(call: CommandLine, arguments: list[str]) -> None:
    for value in HOSTILE:
        done = call(*[value if argument == "@" else argument for argument in arguments])
        assert done.code in {0, 1, 2, 3}
        assert "Traceback" not in done.err
