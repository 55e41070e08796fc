"""A form made of a JSON Schema, and the data that its fields mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from registry import exact
from registry.commands import COMMANDS
from registry.errors import Invalid
from registry.validation import printable


class Field(NamedTuple):
    """One field of a command."""

    name: str
    kind: str
    """text, number, yes, choice or json."""
    required: bool
    description: str
    choices: list[str]
    example: str
    default: str


def fields_of(command: str) -> list[Field]:
    """The fields of a command, in the order of its schema. Raises `Invalid` when there is no such command."""
    if command not in COMMANDS:
        raise Invalid(f"command {printable(command)} is none of {', '.join(COMMANDS)}")
    schema = COMMANDS[command].model_json_schema()
    example = (schema.get("examples") or [{}])[0]
    required = set(schema.get("required", ()))
    return [
        _field(name, spec, name in required, example.get(name)) for name, spec in schema.get("properties", {}).items()
    ]


def data_of(command: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The data that a form means; an empty field is left out. Raises `Invalid` naming field, value and rule."""
    return {
        field.name: _value(field, given[field.name])
        for field in fields_of(command)
        if given.get(field.name, "").strip()
    }


def _field(name: str, spec: dict[str, Any], required: bool, example: Any) -> Field:
    kinds = [spec, *spec.get("anyOf", ())]
    choices: list[str] = next((kind["enum"] for kind in kinds if "enum" in kind), [])
    types = {kind.get("type") for kind in kinds}
    if choices:
        kind = "choice"
    elif "object" in types:
        kind = "json"
    elif "boolean" in types:
        kind = "yes"
    else:
        kind = "number" if "integer" in types else "text"
    default = spec.get("default")
    shown = "" if default in (None, {}) else str(default)
    said = "" if example is None else (example if isinstance(example, str) else json.dumps(example))
    return Field(name, kind, required, spec.get("description", ""), choices, said, shown)


def _value(field: Field, text: str) -> Any:
    match field.kind:
        case "number":
            try:
                return int(text)
            except ValueError:
                raise Invalid(f"{field.name}: {printable(text)}: it must be a whole number") from None
        case "yes":
            return text == "true"
        case "json":
            try:
                return exact.loads_given(text)
            except ValueError as error:
                raise Invalid(f"{field.name}: {printable(text)}: it is no JSON: {error}") from None
        case _:
            return text
