"""Which changes of a JSON Schema break somebody: those need a new major version, that is: a new file.

Events and answers are judged for both sides. A consumer reads new ones by the old schema, so no field may vanish,
change its type, take values it did not take before or become optional; and old events stay in the stream, so the new
schema must accept them: no new required field, no narrower rule. Commands and requests are only written by the others:
what they may say may become more. Either way a field may be added: docs/contract.md tells consumers to expect that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from registry.errors import Invalid
from registry.schemas.files import Documents

Schema = dict[str, Any]

WRITTEN_BY_OTHERS = re.compile(r"urn:imi:registry:(command[:-]|query:[a-z_]+\.request:)")
LOWER_LIMITS = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
UPPER_LIMITS = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
STRUCTURE = {"type", "anyOf", "enum", "const", "format", "properties", "required", "additionalProperties", "items"}
ANNOTATIONS = {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default"}
"""What says nothing about values. Of a keyword that is nowhere here (pattern, oneOf …) each change counts."""


class Side(NamedTuple):
    """A part of a schema, with the definitions its references point into."""

    schema: Schema
    definitions: dict[str, Schema]

    def at(self, part: object) -> Side:
        """`part` in place of the schema, its reference followed; `true` and what is left out take anything."""
        schema = part if isinstance(part, dict) else {}
        while "$ref" in schema:
            name = str(schema["$ref"]).removeprefix("#/$defs/")
            if name not in self.definitions:
                raise Invalid(f'$ref "{schema["$ref"]}": there is no such definition in the document')
            schema = self.definitions[name]
        return Side(schema, self.definitions)

    def alternatives(self) -> dict[str, Side]:
        """JSON type to what the schema says of values of that type; "any" where it does not restrict the type."""
        types = self.schema.get("type", "any")
        if "anyOf" not in self.schema:
            return dict.fromkeys([types] if isinstance(types, str) else types, self)
        found: dict[str, Side] = {}
        for part in self.schema["anyOf"]:
            for name, side in self.at(part).alternatives().items():
                found[f"another {name}" if name in found else name] = side
        return found


def breaking_changes(old: Documents, new: Documents) -> Iterator[str]:
    """One line for each breaking change from `old` to `new`: the file, the field, what happened to it.

    A document that is no JSON Schema (the AsyncAPI one) is passed over. Raises `Invalid` for a reference that points
    nowhere.
    """
    for path, before in old.items():
        if "$schema" not in before:
            continue
        after = new.get(path)
        if after is None:
            yield f"{path}: removed"
        elif after.get("$id") != before.get("$id"):
            yield f'{path}: $id "{before.get("$id")}" became "{after.get("$id")}"'
        else:
            sides = [Side(document, document.get("$defs", {})) for document in (before, after)]
            may_widen = WRITTEN_BY_OTHERS.match(str(before.get("$id"))) is not None
            for change in _compare("", *sides, may_widen=may_widen):
                yield f"{path}: {change}"


def _compare(field: str, old: Side, new: Side, *, may_widen: bool) -> Iterator[str]:
    before, after = old.alternatives(), new.alternatives()
    takers = {name: _taker(name, after) for name in before}
    pairs = [(before[name], taker) for name, taker in takers.items() if taker is not None]
    if len(pairs) < len(before) or not (may_widen or before.keys() == after.keys()):
        yield f"{_named(field)} retyped from {' or '.join(sorted(before))} to {' or '.join(sorted(after))}"
        return
    for part, taker in pairs:
        yield from _compare_rules(field, part.schema, taker.schema, may_widen=may_widen)
        yield from _compare_object(field, part, taker, may_widen=may_widen)
        if "items" in part.schema.keys() | taker.schema.keys():
            items = (side.at(side.schema.get("items")) for side in (part, taker))
            yield from _compare(f"{field}[]", *items, may_widen=may_widen)


def _taker(name: str, alternatives: dict[str, Side]) -> Side | None:
    """The alternative that takes values of the JSON type `name`."""
    wider = ("number", "any") if name == "integer" else ("any",)
    return next((alternatives[other] for other in (name, *wider) if other in alternatives), None)


def _compare_rules(field: str, old: Schema, new: Schema, *, may_widen: bool) -> Iterator[str]:
    """Which values of one type are allowed."""
    if old.get("format") != new.get("format") and not (may_widen and "format" not in new):
        yield f"{_named(field)} retyped from format {old.get('format')} to {new.get('format')}"
    yield from _compare_values(field, _allowed(old), _allowed(new), may_widen=may_widen)
    for keyword in sorted((old.keys() | new.keys()) - STRUCTURE - ANNOTATIONS):
        if old.get(keyword) == new.get(keyword):
            continue
        if _is_wider(keyword, old, new):
            if not may_widen:
                yield f"{_named(field)} widened: {keyword} {new.get(keyword, 'is gone')}"
        else:
            yield f"{_named(field)} narrowed: {keyword} {new[keyword]}"


def _compare_values(field: str, old: list[Any] | None, new: list[Any] | None, *, may_widen: bool) -> Iterator[str]:
    """Which values are enumerated; None where any is allowed."""
    if old is None:
        if new is not None:
            yield f"{_named(field)} narrowed to {_listed(new)}"
        return
    if new is None:
        gone, came = [], ["any"]
    else:
        gone = [value for value in old if value not in new]
        came = [value for value in new if value not in old]
    if gone:
        yield f"{_named(field)} narrowed: {_listed(gone)} no longer allowed"
    elif came and not may_widen:
        yield f"{_named(field)} widened: readers do not know {_listed(came)}"


def _is_wider(keyword: str, old: Schema, new: Schema) -> bool:
    """Whether all values that `old` took by this keyword are taken by `new`."""
    if keyword not in new:
        return True
    if keyword in old and keyword in LOWER_LIMITS:
        return bool(new[keyword] < old[keyword])
    if keyword in old and keyword in UPPER_LIMITS:
        return bool(new[keyword] > old[keyword])
    return False


def _compare_object(field: str, old: Side, new: Side, *, may_widen: bool) -> Iterator[str]:
    before, after = old.schema.get("properties", {}), new.schema.get("properties", {})
    required = [set(side.schema.get("required", ())) for side in (old, new)]
    for name, part in before.items():
        inner = _joined(field, name)
        if name not in after:
            yield f'field "{inner}" removed'
        else:
            yield from _compare(inner, old.at(part), new.at(after[name]), may_widen=may_widen)
    for name in sorted(required[1] - required[0]):
        yield f'field "{_joined(field, name)}" is required now'
    for name in sorted(required[0] - required[1]):
        if name in after and not may_widen:
            yield f'field "{_joined(field, name)}" is no longer required'
    extra = [side.schema.get("additionalProperties", True) for side in (old, new)]
    if extra[1] is False and extra[0] is not False:
        yield f"{_named(field)} no longer takes fields it does not name"
    elif extra[0] is not False and extra[0] != extra[1]:
        yield from _compare(_joined(field, "*"), old.at(extra[0]), new.at(extra[1]), may_widen=may_widen)


def _allowed(schema: Schema) -> list[Any] | None:
    """The values it enumerates; None where it takes any."""
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _listed(values: list[Any]) -> str:
    return ", ".join(map(repr, values))


def _joined(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _named(field: str) -> str:
    return f'field "{field}"' if field else "the document"
