"""A snapshot: projects, worktrees and types as of one position of the event history; the events behind it follow.

The publisher reads all tables in one database snapshot, together with what is published and what is visible there; so
state and position belong together exactly (docs/adr/0006-history.md).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import CoreConfig, SchemaValidator, core_schema

from registry import exact
from registry.concurrency.collector import collector_at_rest
from registry.errors import RegistryError
from registry.history.pages import NOT_READ
from registry.history.state import State
from registry.models import Project, Row, Worktree, WorktreeType
from registry.position import Position
from registry.profiles.profile import Profile
from registry.validation import nearest_time

PROJECT, WORKTREE, WORKTREE_TYPE, END = b"p", b"w", b"t", b"."
"""What the lines of a snapshot behind the first one begin with."""
NO_METADATA = b'"metadata":{}'
_FRACTION = re.compile(rb'(?:":|\[|,)\s*-?[0-9]+[.eE]')
"""A number that may have other digits as a double. A text that looks like one is taken for one, which is harmless."""

RowT = TypeVar("RowT", bound=Row)


@dataclass
class Snapshot(State):
    """The state at one position. `replay(…, After(snapshot.position))` gives the events behind it."""

    position: Position = field(default_factory=lambda: Position(0))

    def put_lines(self, lines: Iterable[bytes]) -> None:
        """Take rows as the publisher sends them. Raises `RegistryError` for a line that is none."""
        try:
            with collector_at_rest():
                for kind, run in groupby(lines, key=itemgetter(slice(1))):
                    self._put_rows(kind, [line[1:] for line in run])
        except NOT_READ as error:
            raise RegistryError("snapshot: a row is none that this version knows") from error

    def put_line(self, line: bytes) -> None:
        """Take one row, as `put_lines` does."""
        self.put_lines((line,))

    def _put_rows(self, kind: bytes, texts: list[bytes]) -> None:
        if kind == PROJECT:
            for project in _rows(Project, texts):
                self.put_project(project)
        elif kind == WORKTREE:
            for worktree in _rows(Worktree, texts):
                self.put_worktree(worktree)
        else:
            for worktree_type in _rows(WorktreeType, texts):
                self.put_type(worktree_type)


def _rows(model: type[RowT], texts: list[bytes]) -> list[RowT]:
    """Rows out of their JSON: as one list, which takes half the time of one by one, where pydantic alone may read them.

    A line that is no row, or more than one, is then found by itself.
    """
    if all(_may_be_read_fast(text) for text in texts):
        try:
            rows: list[dict[str, Any]] = _reader_of_lists(model).validate_json(b"[" + b",".join(texts) + b"]")
        except ValidationError:
            pass
        else:
            if len(rows) == len(texts):
                return _made(model, rows)
    return [_row(model, text) for text in texts]


def _made(model: type[RowT], rows: list[dict[str, Any]]) -> list[RowT]:
    """Rows of fields that are validated, as `model_construct` makes them, in a tenth of its time.

    They share what pydantic keeps of a model beside its fields: the set of those that were given, 2 kB for each.
    """
    given, put = set(model.model_fields), object.__setattr__
    made = []
    for fields in rows:
        row = model.__new__(model)
        put(row, "__dict__", fields)
        put(row, "__pydantic_fields_set__", given)
        put(row, "__pydantic_extra__", None)
        put(row, "__pydantic_private__", None)
        made.append(row)
    return made


@cache
def _reader_of_lists(model: type[RowT]) -> SchemaValidator:
    """Reads the fields that `model` reads, without a call of Python for each time: a list that needs it is refused.

    The fields alone, since pydantic would take the validator that the model has, times and all, for a schema that names
    it. Values are not looked for among those before: most are seen once.
    """
    model.model_rebuild()
    fields: dict[str, Any] = model.__pydantic_core_schema__["schema"]["fields"]
    read = {
        name: core_schema.typed_dict_field(
            _without_nearest_time(one["schema"]), required=one["schema"]["type"] != "default"
        )
        for name, one in fields.items()
    }
    rows = core_schema.list_schema(core_schema.typed_dict_schema(read))
    return SchemaValidator(rows, CoreConfig(cache_strings="keys"))


def _without_nearest_time(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_nearest_time(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "function-before" and schema["function"]["function"] is nearest_time:
        return schema["schema"]
    return {name: _without_nearest_time(part) for name, part in schema.items()}


def _row(model: type[RowT], text: bytes) -> RowT:
    """A row out of its JSON, with every digit of the numbers in its metadata."""
    if _may_be_read_fast(text):
        try:
            return model.model_validate_json(text)
        except ValidationError:
            pass  # an integer of thousands of digits; or no row, as is said below
    return model.model_validate(exact.loads(text))


def _may_be_read_fast(text: bytes) -> bool:
    """Whether pydantic alone reads it, which needs half the time, and makes doubles of fractions: it has none."""
    return NO_METADATA in text or not _FRACTION.search(text)


async def grouped_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The lines of a text that comes in pieces, without their ends: those together that end in one piece.

    What is behind the last end is no line.
    """
    begun: list[bytes] = []
    async for piece in pieces:
        end, *lines = piece.split(b"\n")
        begun.append(end)
        if not lines:
            continue
        yield [b"".join(begun), *lines[:-1]]
        begun = [lines[-1]]


def snapshot_subject(profile: Profile) -> str:
    """Where the publisher answers with a snapshot: chunks of lines, each to be confirmed by an empty answer."""
    return f"{profile.requests}.snapshot"
