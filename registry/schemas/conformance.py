"""Whether a message keeps to the contract, judged by the documents of `schemas/` alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match

from registry.schemas import files
from registry.validation import nearest_time

_TYPE = re.compile(r"imi\.(?P<name>[a-z_]+\.[a-z_]+)\.(?P<version>v[0-9]+)")
_MOST_CHARACTERS = 80
_FORMATS = Draft202012Validator.FORMAT_CHECKER
_OF_EVENTS = FormatChecker()
_OF_EVENTS.checkers = dict(_FORMATS.checkers)
"""What is in the data of an event that is older than a rule: a time as PostgreSQL has it, too (docs/schema.md)."""


@_OF_EVENTS.checks("date-time")
def _is_time(value: object) -> bool:
    return bool(_FORMATS.conforms(nearest_time(value), "date-time"))


def faults(message: object) -> Iterator[str]:
    """One line for each fault of a message, an event or a command as parsed JSON: field, value, rule."""
    if not isinstance(message, dict):
        yield f"message: a JSON {type(message).__name__}, not an object"
        return
    found = _TYPE.fullmatch(str(message.get("type")))
    name, version = found.group("name", "version") if found else ("", "")
    documents = _documents()
    for folder, envelope in (("events", "envelope.v1.json"), ("commands", "command-envelope.v1.json")):
        document = documents.get(f"{folder}/{name}.{version}.json")
        if document is not None:
            yield from _faults(documents[envelope], message, "")
            if "data" in message:
                yield from _faults(document, message["data"], "data", _OF_EVENTS if folder == "events" else _FORMATS)
            if folder == "events" and message.get("dataschema") != document["$id"]:
                yield f"dataschema: {_short(message.get('dataschema'))} is not '{document['$id']}'"
            return
    yield f"type: {_short(message.get('type'))} is no event or command of this contract"


def _faults(document: dict[str, Any], value: object, root: str, formats: FormatChecker = _FORMATS) -> Iterator[str]:
    validator = Draft202012Validator(document, format_checker=formats)
    for error in sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path]):
        deepest = best_match([error]) or error
        path = [root] if root else []
        path += [str(part) for part in deepest.absolute_path]
        yield f"{'.'.join(path) or 'message'}: {_rule(deepest)}"


def _rule(error: ValidationError) -> str:
    """The validator's own words; of a large value only the beginning is shown."""
    return error.message.replace(repr(error.instance), _short(error.instance)).replace("\n", " ")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


@cache
def _documents() -> files.Documents:
    return files.load(files.folder())
