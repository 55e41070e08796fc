"""`schemas/` is what the models say, says it well, and notices when a model changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo
from typer.testing import CliRunner, Result

from publisher.cli.schemas import app
from registry.commands import COMMANDS, CommandEnvelope, Outcome, ProjectCommand, WorktreeCommand
from registry.errors import Conflict, Invalid
from registry.events import VERSIONS
from registry.events.envelope import Envelope
from registry.queries import QUERIES
from registry.schemas import files as schema_files
from registry.schemas import generate as schemas
from registry.schemas.compatibility import breaking_changes
from registry.schemas.conformance import faults
from tests.support.processes import run

CHECKED_IN = schema_files.load(Path(__file__).parents[3] / "schemas")
DOCUMENTS = {path: document for path, document in CHECKED_IN.items() if "$schema" in document}


NAMING = (ProjectCommand, WorktreeCommand)
MESSAGES = [path for path in DOCUMENTS if not path.startswith("queries/")]


def models() -> Iterator[tuple[str, type[BaseModel]]]:
    """Every model of the contract and the file it makes."""
    yield "envelope.v1.json", Envelope
    yield "command-envelope.v1.json", CommandEnvelope
    yield "outcome.v1.json", Outcome
    for name, versions in VERSIONS.items():
        yield from ((f"events/{name}.v{version}.json", model) for version, model in enumerate(versions, start=1))
    for name, command in COMMANDS.items():
        yield f"commands/{name}.v1.json", command
    for name, query in QUERIES.items():
        yield f"queries/{name}.request.v1.json", query.request
        yield f"queries/{name}.response.v1.json", query.response


def test_what_is_checked_in_is_what_the_models_say() -> None:
    stale = schemas.differing(CHECKED_IN)
    assert stale == [], f"schemas/{', schemas/'.join(stale)}: run imi-registry schemas generate"


def test_every_model_has_its_file() -> None:
    assert {path for path, _ in models()} == DOCUMENTS.keys()


@pytest.mark.parametrize(("path", "model", "field"), [(p, m, f) for p, m in models() for f in m.model_fields])
def test_a_field_that_is_removed_from_a_model_is_noticed(path: str, model: type[BaseModel], field: str) -> None:
    # given the model without one of its fields
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in model.model_fields.items()}
    del fields[field]
    smaller = create_model(model.__name__, __config__=ConfigDict(extra=model.model_config.get("extra")), **fields)
    # when its schema is made
    changed = schemas.schema(smaller, CHECKED_IN[path]["$id"])
    # then the check against the files, and the one for compatibility, both name the file
    assert path in schemas.differing(CHECKED_IN | {path: changed})
    assert f'{path}: field "{field}" removed' in list(breaking_changes(CHECKED_IN, CHECKED_IN | {path: changed}))


def properties(schema: Any, field: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every property anywhere in a document: its name, the schema it is in, and that schema's place."""
    if isinstance(schema, dict):
        for name in schema.get("properties", {}):
            yield name, schema, field
        for key, part in schema.items():
            if key not in ("examples", "default"):
                yield from properties(part, f"{field}/{key}")


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_field_that_is_removed_anywhere_in_a_document_is_noticed(path: str) -> None:
    for name, _, place in properties(DOCUMENTS[path]):
        changed = json.loads(json.dumps(DOCUMENTS[path]))
        found = next(schema for key, schema, at in properties(changed) if (key, at) == (name, place))
        del found["properties"][name]
        problems = list(breaking_changes({path: DOCUMENTS[path]}, {path: changed}))
        assert any(problem.startswith(f"{path}: ") and f'{name}" removed' in problem for problem in problems), place


def test_a_field_that_is_added_is_noticed_and_compatible() -> None:
    path, model = "events/project.registered.v1.json", VERSIONS["project.registered"][0]
    larger = create_model(model.__name__, __base__=model, mood=(str | None, FieldInfo(default=None)))
    changed = CHECKED_IN | {path: schemas.schema(larger, CHECKED_IN[path]["$id"])}
    assert schemas.differing(changed) == [path]
    assert list(breaking_changes(CHECKED_IN, changed)) == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_each_document_is_a_valid_schema_with_valid_examples(path: str) -> None:
    document = DOCUMENTS[path]
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == schemas.DIALECT
    assert document["description"]
    assert document.get("examples") or path not in MESSAGES
    for example in document.get("examples", ()):
        Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(example)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_each_field_is_described_and_nothing_tells_of_python(path: str) -> None:
    found = [(name, schema["properties"][name]) for name, schema, _ in properties(DOCUMENTS[path])]
    assert [name for name, part in found if not part.get("description")] == []
    described = [DOCUMENTS[path], *DOCUMENTS[path].get("$defs", {}).values(), *(part for _, part in found)]
    for part in described:
        assert not re.search(r"\bNone\b|[^\n]\n[^\n]", part["description"])


@pytest.mark.parametrize("name", [name for name, model in COMMANDS.items() if issubclass(model, NAMING)])
def test_schema_and_model_agree_on_how_a_command_names_what_it_is_about(name: str) -> None:
    names = ("project_id", "remote_origin") if issubclass(COMMANDS[name], ProjectCommand) else ("worktree_id", "path")
    document = DOCUMENTS[f"commands/{name}.v1.json"]
    rest = {key: value for key, value in document["examples"][0].items() if key not in names}
    values = dict(zip(names, ("6f1c2a52-93a5-4b0c-9f0b-0a4c3a1d7e11", "/a"), strict=True))
    first, second = ({key: value} for key, value in values.items())
    nulls = dict.fromkeys(names)
    for given, is_valid in [
        (first, True),
        (second, True),
        (nulls | first, True),
        (nulls, False),
        ({}, False),
        (values, False),
    ]:
        data = rest | given
        assert Draft202012Validator(document).is_valid(data) == is_valid, given
        try:
            COMMANDS[name].model_validate(data)
        except ValidationError:
            assert not is_valid, given
        else:
            assert is_valid, given


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.startswith("events/")])
def test_changed_names_only_columns_that_the_data_has(path: str) -> None:
    document = DOCUMENTS[path]
    if path.startswith("events/registry."):
        assert "changed" not in document["properties"]
        return
    name = document["properties"]["changed"]["$ref"].rsplit("/", 1)[-1]
    changes = document["$defs"][name]
    assert changes["additionalProperties"] is False
    assert changes["properties"].keys() <= document["properties"].keys()
    for column, part in changes["properties"].items():
        assert part == document["properties"][column]


def test_ids_are_unique_urns() -> None:
    ids = [document["$id"] for document in DOCUMENTS.values()]
    assert len(set(ids)) == len(ids)
    assert all(urn.startswith("urn:imi:registry:") for urn in ids)


# --- imi-registry schemas ---------------------------------------------------------------------------------------


def invoke(*arguments: object, stdin: str | None = None) -> Result:
    """The command in this process, on a terminal of 80 columns; a refusal is the result's exception."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, env={"COLUMNS": "80"})


EVENT = CHECKED_IN["envelope.v1.json"]["examples"][0]
COMMAND = CHECKED_IN["command-envelope.v1.json"]["examples"][0]


def test_generate_repairs_a_folder_and_check_names_what_differs(tmp_path: Path) -> None:
    assert invoke("generate", "--out", tmp_path).exit_code == 0
    assert invoke("generate", "--check", "--out", tmp_path).exit_code == 0
    (tmp_path / "outcome.v1.json").write_text("{}")
    (tmp_path / "events/project.updated.v1.json").unlink()
    (tmp_path / "events/project.forgotten.v1.json").write_text('{"$id": "urn:imi:registry:event:forgotten:v1"}')
    done = invoke("generate", "--check", "--out", tmp_path)
    differing = "events/project.forgotten.v1.json, events/project.updated.v1.json, outcome.v1.json"
    assert isinstance(done.exception, Conflict)
    assert f"not what the models say: {differing}; run imi-registry schemas generate" in str(done.exception)
    invoke("generate", "--out", tmp_path)
    assert schema_files.load(tmp_path) == CHECKED_IN


def test_generate_takes_nothing_away_from_others(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "something else"}')
    done = invoke("generate", "--out", tmp_path)
    assert isinstance(done.exception, Conflict)
    assert str(done.exception) == f"{tmp_path}: package.json is no schema of this contract; give a folder of its own"
    assert [path.name for path in tmp_path.iterdir()] == ["package.json"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(invoke("generate", "--out", tmp_path / "file").exception) == f"{tmp_path / 'file'}: File exists"


def test_documents_are_listed_and_shown_by_any_of_their_names() -> None:
    listed = {line["name"]: line["id"] for line in json.loads(invoke("list", "--json").stdout)}
    assert listed.keys() == {path.removesuffix(".json") for path in CHECKED_IN}
    for name in ("events/worktree.merged.v1", "imi.worktree.merged.v1", listed["events/worktree.merged.v1"]):
        assert json.loads(invoke("show", name).stdout) == CHECKED_IN["events/worktree.merged.v1.json"]
    done = run("schemas", "show", "worktree.mergd.v1")
    assert done.returncode == 1
    assert done.stderr == 'imi-registry: no schema "worktree.mergd.v1"; did you mean worktree.merged.v1?\n'
    table = invoke("list").stdout
    assert "events/worktree.merged.v1" in table
    assert all(len(line) <= 80 for line in table.splitlines())


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (1, "message: a JSON int, not an object"),
        ({}, "type: None is no event or command of this contract"),
        (EVENT | {"type": "imi.registry.truncated.v9"}, "type: 'imi.registry.truncated.v9' is no event or command"),
        (EVENT | {"data": {"table": "users"}}, "data.table: 'users' is not one of ['projects', "),
        (EVENT | {"data": {"table": "x" * 10_000}}, f"data.table: '{'x' * 79}… is not one of ['projects', "),
        (EVENT | {"data": {}}, "data: 'table' is a required property"),
        (EVENT | {"time": "noon"}, "time: 'noon' is not a 'date-time'"),
        (EVENT | {"time": "infinity"}, "time: 'infinity' is not a 'date-time'"),
        (EVENT | {"id": 5}, "id: 5 is not of type 'string'"),
        (EVENT | {"causationid": "me"}, "causationid: 'me' is not a 'uuid'"),
        (EVENT | {"dataschema": "urn:x"}, "dataschema: 'urn:x' is not 'urn:imi:registry:event:registry.truncated:v1'"),
        (
            COMMAND | {"data": COMMAND["data"] | {"naem": 1}},
            "data: Additional properties are not allowed ('naem' was unexpected)",
        ),
        (COMMAND | {"replyto": "imi.evt"}, "replyto: 'imi.evt' does not match"),
    ],
)
def test_a_fault_is_told_with_field_value_and_rule(message: object, fault: str) -> None:
    (found,) = faults(message)
    assert found.startswith(fault)
    assert "\n" not in found


def test_check_reads_one_document_lines_or_standard_input(tmp_path: Path) -> None:
    pretty, lines = tmp_path / "one.json", tmp_path / "many.jsonl"
    pretty.write_text(json.dumps(EVENT, indent=2))
    done = invoke("check", pretty)
    assert (done.exit_code, done.stdout) == (0, f"{pretty}: 1 message keeps to the contract\n")
    lines.write_text("\n".join([json.dumps(EVENT), "", json.dumps(COMMAND | {"id": "x"}), "{", json.dumps(COMMAND)]))
    done = invoke("check", lines)
    assert done.stdout.splitlines()[0] == f"{lines}:3: id: 'x' is not a 'uuid'"
    assert done.stdout.splitlines()[1].startswith(f"{lines}:4: message: not JSON: ")
    assert isinstance(done.exception, Invalid)
    assert str(done.exception) == f"{lines}: 2 of 4 messages break the contract"
    done = invoke("check", "-", stdin=f"{json.dumps(EVENT)}\n{json.dumps(COMMAND)}\n")
    assert (done.exit_code, done.stdout) == (0, "-: 2 messages keep to the contract\n")
    assert str(invoke("check", "-", stdin="").exception) == "-: empty"
    assert str(invoke("check", tmp_path / "none").exception).endswith("none: No such file or directory")
