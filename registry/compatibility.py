"""Which changes of a JSON Schema break somebody: those need a new major version, that is: a new file.

Events are judged for both sides. A consumer reads new events by the old schema, so no field may vanish, change its
type, take a new value of an enumeration or become optional; and old events stay in the stream, so the new schema must
accept them: no new required field, no narrower rule. Commands and requests are only written by the others: what they
may say may become more. Either way a field may be added: docs/contract.md tells consumers to expect that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from registry.schema_files import Documents

Schema = dict[str, Any]

LOWER_LIMITS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_LIMITS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
RULES = ("pattern", "oneOf", "propertyNames", "uniqueItems")


class Side(NamedTuple):
    """A part of a schema, with the definitions its references point into."""

    schema: Schema
    definitions: dict[str, Schema]

    def at(self, part: Schema) -> Side:
        """`part` in place of the schema, its reference followed."""
        while "$ref" in part:
            part = self.definitions[part["$ref"].rsplit("/", 1)[-1]]
        return Side(part, self.definitions)

    def alternatives(self) -> dict[str, Side]:
        """JSON type to what the schema says of values of that type; "any" where it does not restrict the type."""
        if "anyOf" in self.schema:
            parts = [self.at(part).alternatives() for part in self.schema["anyOf"]]
            return {name: side for part in parts for name, side in part.items()}
        types = self.schema.get("type", "any")
        return dict.fromkeys([types] if isinstance(types, str) else types, self)


def breaking_changes(old: Documents, new: Documents) -> Iterator[str]:
    """One line for each breaking change from `old` to `new`: the file, the field, what happened to it.

    A document that is no JSON Schema (the AsyncAPI one) is passed over.
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
            may_widen = re.search(r":command|\.request:", str(before.get("$id"))) is not None
            for change in _compare("", *sides, may_widen=may_widen):
                yield f"{path}: {change}"


def _compare(field: str, old: Side, new: Side, *, may_widen: bool) -> Iterator[str]:
    before, after = old.alternatives(), new.alternatives()
    if before.keys() != after.keys():
        yield f"{_named(field)} retyped from {' or '.join(sorted(before))} to {' or '.join(sorted(after))}"
        return
    for name in before:
        yield from _compare_rules(field, before[name].schema, after[name].schema, may_widen=may_widen)
        yield from _compare_object(field, before[name], after[name], may_widen=may_widen)
        if "items" in before[name].schema and "items" in after[name].schema:
            items = (side[name].at(side[name].schema["items"]) for side in (before, after))
            yield from _compare(f"{field}[]", *items, may_widen=may_widen)


def _compare_rules(field: str, old: Schema, new: Schema, *, may_widen: bool) -> Iterator[str]:
    """Which values of one type are allowed."""
    if old.get("format") != new.get("format"):
        yield f"{_named(field)} retyped from format {old.get('format')} to {new.get('format')}"
    before, after = _allowed(old), _allowed(new)
    if after is not None and before is None:
        yield f"{_named(field)} narrowed to {_listed(after)}"
    elif after is not None and before is not None and (gone := [value for value in before if value not in after]):
        yield f"{_named(field)} narrowed: {_listed(gone)} no longer allowed"
    elif (
        before is not None and not may_widen and (came := [value for value in after or ["any"] if value not in before])
    ):
        yield f"{_named(field)} widened: readers do not know {_listed(came)}"
    for limits, sign in ((LOWER_LIMITS, 1), (UPPER_LIMITS, -1)):
        for limit in limits:
            if limit in new and (limit not in old or sign * new[limit] > sign * old[limit]):
                yield f"{_named(field)} narrowed: {limit} {new[limit]}"
    for rule in RULES:
        if rule in new and new[rule] != old.get(rule):
            yield f"{_named(field)} narrowed: {rule} {new[rule]}"


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


def _allowed(schema: Schema) -> list[Any] | None:
    """The values it enumerates; None where it takes any."""
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _listed(values: list[Any]) -> str:
    return ", ".join(map(repr, values))


def _joined(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _named(field: str) -> str:
    return f'field "{field}"' if field else "the document"
