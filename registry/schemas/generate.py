"""The language-neutral contract: JSON Schema 2020-12, generated from the models and checked in as `schemas/`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from registry.commands import COMMANDS, CommandEnvelope, Outcome
from registry.errors import Conflict
from registry.events import VERSIONS
from registry.events.envelope import Envelope
from registry.queries import QUERIES
from registry.schemas import asyncapi, docstrings
from registry.schemas.files import Documents, load
from registry.subjects import Names

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Generator(GenerateJsonSchema):
    """JSON Schema as other languages want it: no titles that repeat the field's name, no null as a default."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's hook
        """Never."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """As usual, without a default that says no more than "may be left out"."""
        document = super().default_schema(schema)
        return {key: value for key, value in document.items() if key != "default" or value is not None}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """As usual, with the docstring of each field as its description.

        A computed field, a second name of a value, may be missing: earlier publishers have none. And it is not
        `readOnly`: all of an answer is for reading.
        """
        document = super().model_schema(schema)
        computed = schema["cls"].model_computed_fields
        for name in computed.keys() & document.get("properties", {}).keys():
            document["properties"][name].pop("readOnly", None)
            document["required"].remove(name)
        for name, text in docstrings.of_fields(schema["cls"]).items():
            document["properties"].get(name, {}).setdefault("description", text)
        return document


@cache
def documents() -> Documents:
    """Every document of the contract, built once from the models of this version."""
    found = {
        "envelope.v1.json": schema(Envelope, "urn:imi:registry:envelope:v1"),
        "command-envelope.v1.json": schema(CommandEnvelope, "urn:imi:registry:command-envelope:v1"),
        "outcome.v1.json": schema(Outcome, "urn:imi:registry:outcome:v1", mode="serialization"),
    }
    for name, versions in VERSIONS.items():
        entity, action = name.split(".")
        for version, model in enumerate(versions, start=1):
            path = f"events/{name}.v{version}.json"
            found[path] = schema(model, Names().data_schema(entity, action, version))
    for name, command in COMMANDS.items():
        found[f"commands/{name}.v1.json"] = schema(command, f"urn:imi:registry:command:{name}:v1")
    for name, query in QUERIES.items():
        urn = f"urn:imi:registry:query:{name}"
        found[f"queries/{name}.request.v1.json"] = schema(query.request, f"{urn}.request:v1")
        found[f"queries/{name}.response.v1.json"] = schema(query.response, f"{urn}.response:v1", mode="serialization")
    return found | {"asyncapi.json": asyncapi.document(Generator)}


def schema(model: type[BaseModel], urn: str, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
    """The JSON Schema of one model, with `urn` as its `$id`; `mode` "serialization" for what is always sent whole."""
    document = model.model_json_schema(schema_generator=Generator, mode=mode)
    _describe_changes(document)
    return {"$schema": DIALECT, "$id": urn} | document


def _describe_changes(document: dict[str, Any]) -> None:
    """Describe previous values (`changed`) as the columns of the data that they are of."""
    if "changed" in document["properties"]:
        changes = document["$defs"][document["properties"]["changed"]["$ref"].rsplit("/", 1)[-1]]
        for column in changes["properties"].keys() & document["properties"].keys():
            if "description" in document["properties"][column]:
                changes["properties"][column]["description"] = document["properties"][column]["description"]


def differing(found: Documents) -> list[str]:
    """Paths of the documents in which `found` is not what the models say, and of those that one side lacks."""
    wanted = documents()
    return sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))


def write(target: Path) -> list[str]:
    """Write every document below `target` and remove former ones there; returns the paths that were not up to date.

    Raises `Conflict`, and writes nothing, where the folder has JSON of somebody else's.
    """
    wanted = documents()
    found = load(target) if target.is_dir() and any(target.iterdir()) else {}
    for path, document in found.items():
        if path not in wanted and not str(document.get("$id")).startswith("urn:imi:registry:"):
            raise Conflict(f"{target}: {path} is no schema of this contract; give a folder of its own")
    stale = differing(found)
    for path in stale:
        file = target / path
        if path in wanted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(orjson.dumps(wanted[path], option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        else:
            file.unlink()
    return stale
