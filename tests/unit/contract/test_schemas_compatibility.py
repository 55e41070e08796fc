"""Which changes of a schema need a new major version, and which do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from publisher.cli.schemas import app
from registry.errors import Conflict, Invalid, NotFound
from registry.schemas.compatibility import breaking_changes
from registry.schemas.files import folder, load
from tests.support.processes import run

EVENT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:imi:registry:event:thing.done:v1",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "kind": {"enum": ["a", "b"], "type": "string"},
        "count": {"type": "integer", "minimum": 1, "maximum": 5},
        "at": {"type": "string", "format": "date-time"},
        "code": {"type": "string", "pattern": "^x"},
        "any": {},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "list": {"type": "array"},
        "names": {"type": "array", "items": {"type": "string"}},
        "either": {"anyOf": [{"type": "object"}, {"$ref": "#/$defs/Other"}]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}},
        "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
    },
    "required": ["name", "note"],
    "$defs": {
        "Tag": {"type": "object", "properties": {"text": {"type": "string"}}},
        "Place": {"type": "object", "properties": {"city": {"$ref": "#/$defs/City"}}},
        "City": {"type": "string"},
        "Other": {"type": "object", "properties": {"other": {"type": "string"}}},
    },
}
COMMAND = EVENT | {"$id": "urn:imi:registry:command:thing.do:v1"}

Change = Callable[[dict[str, Any]], object]


def changed(document: dict[str, Any], change: Change) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    change(copy)
    return copy


def problems(document: dict[str, Any], change: Change) -> list[str]:
    return list(breaking_changes({"f.json": document}, {"f.json": changed(document, change)}))


BREAKING: list[tuple[Change, str]] = [
    (lambda d: d["properties"].pop("name"), 'field "name" removed'),
    (lambda d: d["properties"].update(name={"type": "integer"}), 'field "name" retyped from string to integer'),
    (lambda d: d["properties"].update(note={"type": "string"}), 'field "note" retyped from null or string to string'),
    (lambda d: d["properties"].update(any={"type": "string"}), 'field "any" retyped from any to string'),
    (lambda d: d["properties"]["at"].update(format="date"), 'field "at" retyped from format date-time to date'),
    (lambda d: d["properties"]["kind"].update(enum=["a"]), "field \"kind\" narrowed: 'b' no longer allowed"),
    (lambda d: d["properties"]["kind"].update(const="a"), "field \"kind\" narrowed: 'b' no longer allowed"),
    (lambda d: d["properties"]["name"].update(enum=["a"]), "field \"name\" narrowed to 'a'"),
    (lambda d: d["properties"]["count"].update(minimum=2), 'field "count" narrowed: minimum 2'),
    (lambda d: d["properties"]["count"].update(maximum=4), 'field "count" narrowed: maximum 4'),
    (lambda d: d["properties"]["name"].update(minLength=1), 'field "name" narrowed: minLength 1'),
    (lambda d: d["properties"]["code"].update(pattern="^y"), 'field "code" narrowed: pattern ^y'),
    (lambda d: d["required"].append("kind"), 'field "kind" is required now'),
    (lambda d: d.update(additionalProperties=False), "the document no longer takes fields it does not name"),
    (lambda d: d["$defs"]["Tag"]["properties"].clear(), 'field "tags[].text" removed'),
    (
        lambda d: d["$defs"]["City"].update(type="null"),
        'field "place.city" retyped from string to null',
    ),
    (lambda d: d["$defs"]["Place"].update(required=["city"]), 'field "place.city" is required now'),
    (lambda d: d["$defs"]["Other"]["properties"].clear(), 'field "either.other" removed'),
    (
        lambda d: d["properties"]["counts"].update(additionalProperties={"type": "string"}),
        'field "counts.*" retyped from integer to string',
    ),
    (lambda d: d["properties"]["list"].update(items={"type": "string"}), 'field "list[]" retyped from any to string'),
    (lambda d: d["properties"]["count"].update(multipleOf=2), 'field "count" narrowed: multipleOf 2'),
    (lambda d: d["properties"]["name"].update({"not": False}), 'field "name" narrowed: not False'),
    (lambda d: d.update({"$id": "urn:x"}), '$id "{id}" became "urn:x"'),
]
BREAKING_FOR_READERS: list[tuple[Change, str]] = [
    (lambda d: d["required"].remove("note"), 'field "note" is no longer required'),
    (lambda d: d["properties"]["kind"].update(enum=["a", "b", "c"]), "field \"kind\" widened: readers do not know 'c'"),
    (lambda d: d["properties"]["kind"].pop("enum"), "field \"kind\" widened: readers do not know 'any'"),
    (lambda d: d["properties"].update(name={}), 'field "name" retyped from string to any'),
    (
        lambda d: d["properties"].update(name={"type": ["string", "null"]}),
        'field "name" retyped from string to null or string',
    ),
    (
        lambda d: d["properties"].update(count={"type": "number", "minimum": 1, "maximum": 5}),
        'field "count" retyped from integer to number',
    ),
    (lambda d: d["properties"]["at"].pop("format"), 'field "at" retyped from format date-time to None'),
    (lambda d: d["properties"]["count"].update(minimum=0), 'field "count" widened: minimum 0'),
    (lambda d: d["properties"]["count"].update(maximum=6), 'field "count" widened: maximum 6'),
    (lambda d: d["properties"]["count"].pop("maximum"), 'field "count" widened: maximum is gone'),
    (lambda d: d["properties"]["code"].pop("pattern"), 'field "code" widened: pattern is gone'),
    (
        lambda d: d["properties"]["counts"].update(additionalProperties=True),
        'field "counts.*" retyped from integer to any',
    ),
    (lambda d: d["properties"]["names"].pop("items"), 'field "names[]" retyped from string to any'),
]
COMPATIBLE: list[Change] = [
    lambda d: d["properties"].update(more={"type": "string"}),
    lambda d: d.update(description="other words", examples=[], title="T"),
    lambda d: d["properties"].update(note={"type": ["null", "string"]}),
]


@pytest.mark.parametrize(("change", "problem"), BREAKING)
@pytest.mark.parametrize("document", [EVENT, COMMAND], ids=["event", "command"])
def test_a_breaking_change_is_named_with_its_file_and_field(
    document: dict[str, Any], change: Change, problem: str
) -> None:
    assert problems(document, change) == [f"f.json: {problem.format(id=document['$id'])}"]


@pytest.mark.parametrize(("change", "problem"), BREAKING_FOR_READERS)
def test_what_only_readers_suffer_from_is_refused_for_events_alone(change: Change, problem: str) -> None:
    assert problems(EVENT, change) == [f"f.json: {problem}"]
    assert problems(COMMAND, change) == []


@pytest.mark.parametrize(
    ("path", "is_read"),
    [
        ("events/command.rejected.v1.json", True),
        ("outcome.v1.json", True),
        ("queries/projects.response.v1.json", True),
        ("commands/worktree.claim.v1.json", False),
        ("command-envelope.v1.json", False),
        ("queries/project_by_id.request.v1.json", False),
    ],
)
def test_what_the_registry_sends_is_judged_for_readers(path: str, is_read: bool) -> None:
    """Names tell nothing: there are events of commands."""
    document = load(folder())[path]
    field = document["required"][-1]
    found = list(breaking_changes({path: document}, {path: changed(document, lambda d: d["required"].pop())}))
    assert found == [f'{path}: field "{field}" is no longer required'] * is_read


def test_a_reference_that_points_nowhere_is_told() -> None:
    with pytest.raises(Invalid, match=r'^\$ref "#/\$defs/Gone": there is no such definition'):
        problems(EVENT, lambda d: d["properties"].update(place={"$ref": "#/$defs/Gone"}))


@pytest.mark.parametrize("change", COMPATIBLE)
@pytest.mark.parametrize("document", [EVENT, COMMAND], ids=["event", "command"])
def test_what_breaks_nobody_is_taken(document: dict[str, Any], change: Change) -> None:
    assert problems(document, change) == []


def test_a_closed_object_may_gain_a_field() -> None:
    closed = EVENT | {"additionalProperties": False}
    assert problems(closed, lambda d: d["properties"].update(more={"type": "string"})) == []


def test_a_version_stays_when_the_next_one_comes() -> None:
    both = load(folder())
    assert list(breaking_changes(both, {k: v for k, v in both.items() if k != "events/activity.logged.v1.json"})) == [
        "events/activity.logged.v1.json: removed"
    ]
    without_v2 = {path: document for path, document in both.items() if path != "events/activity.logged.v2.json"}
    assert list(breaking_changes(without_v2, both)) == []


def test_a_second_version_is_a_breaking_change_of_the_first() -> None:
    """That is why it is a version."""
    both = load(folder())
    first = both["events/activity.logged.v1.json"]
    second = both["events/activity.logged.v2.json"] | {"$id": first["$id"]}
    assert 'f.json: field "worktree_id" removed' in list(breaking_changes({"f.json": first}, {"f.json": second}))


def test_the_command_compares_folders_and_files(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for directory, document in ((old, EVENT), (new, changed(EVENT, lambda d: d["properties"].pop("name")))):
        directory.mkdir()
        (directory / f"{directory.name}.json").write_text(json.dumps(document))
        (directory / "thing.json").write_text(json.dumps(document))
    (old / "old.json").unlink()
    done = run("schemas", "check-compat", str(old), str(new))
    assert (done.returncode, done.stdout) == (1, 'thing.json: field "name" removed\n')
    assert done.stderr == f"imi-registry: {new}: 1 breaking change without a new major version\n"
    compare = partial(CliRunner().invoke, app)
    single = compare(["check-compat", str(old / "thing.json"), str(new / "new.json")])
    assert single.stdout == 'new.json: field "name" removed\n'
    assert isinstance(single.exception, Conflict)
    assert compare(["check-compat", str(new), str(new)]).stdout == f"{new}: compatible with {new}\n"
    assert isinstance(compare(["check-compat", str(old), str(tmp_path / "none")]).exception, NotFound)
    (tmp_path / "package.json").write_text('{"name": "something else"}')
    nonsense = compare(["check-compat", str(tmp_path / "package.json"), str(new)])
    assert str(nonsense.exception) == f"{tmp_path / 'package.json'}: no JSON Schema there"
