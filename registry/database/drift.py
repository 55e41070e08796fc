"""What of the schema is not that of the migrations: functions, views and triggers that somebody made anew by hand, and
tables, sequences, types and columns that are gone.

What they should be is `migrations/head/`. Comments and rights are not looked at: those an administrator may change, as
he may add columns, indexes and constraints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection, Connection

from registry.database.errors import translated
from registry.database.head import FILES, SETTINGS
from registry.database.migration import load, package_directory

RELATIONS = "tables.sql"
LOOKED_AT = (RELATIONS, "functions.sql", "triggers.sql", "views.sql")
_NAMED = re.compile(
    r"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?(?P<kind>FUNCTION|PROCEDURE|TRIGGER|VIEW|MATERIALIZED VIEW)"
    r" (?:public\.)?(?P<name>\w+)(?P<rest>[^\n]*)"
)
_RELATION = re.compile(r"CREATE (?P<kind>TABLE|SEQUENCE|TYPE) (?P<name>\w+)")
_COLUMN = re.compile(r"^    (?!CONSTRAINT )(\w+) ", re.MULTILINE)
_OF_TABLE = re.compile(r" ON (?:public\.)?(\w+) ")
_NEXT = re.compile(r"\n\n(?=CREATE )")
_NOT_LOOKED_AT = re.compile(r"^(?:COMMENT ON|REVOKE) .*", re.MULTILINE | re.DOTALL)
_VERSIONS: LiteralString = "SELECT array_agg(version ORDER BY version) FROM public.schema_migrations"
_IS_RECORDED: LiteralString = "SELECT to_regclass('public.schema_migrations') IS NOT NULL"


class Differing(NamedTuple):
    """One thing that is not what the migrations made, or is gone."""

    kind: str
    """Also `column`."""
    name: str
    file: str
    """Where it stands as it should be."""
    is_missing: bool
    made_by: str | None = None
    """Of a table: the migration that makes it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def differing(conn: Connection[Any]) -> list[Differing]:
    """What differs in the database, by name. What is not there is among it. Raises `Unavailable`."""
    with translated(), conn.transaction():
        for setting in SETTINGS:
            conn.execute(setting)
        texts = {name: [text for (text,) in conn.execute(FILES[name]).fetchall()] for name in LOOKED_AT}
    return _compared(texts)


async def differing_in(conn: AsyncConnection[Any]) -> list[Differing]:
    """As `differing`; nothing in a database with other migrations than all of this version. Raises `Unavailable`."""
    with translated():
        async with conn.transaction():
            if await _has_others(conn):
                return []
            for setting in SETTINGS:
                await conn.execute(setting)
            texts = {
                name: [text for (text,) in await (await conn.execute(FILES[name])).fetchall()] for name in LOOKED_AT
            }
    return _compared(texts)


async def _has_others(conn: AsyncConnection[Any]) -> bool:
    (is_recorded,) = await (await conn.execute(_IS_RECORDED)).fetchone() or (False,)
    if not is_recorded:
        return False
    (versions,) = await (await conn.execute(_VERSIONS)).fetchone() or (None,)
    return versions != [migration.version for migration in load()]


def _compared(texts: dict[str, list[str]]) -> list[Differing]:
    found: list[Differing] = []
    for file, there in texts.items():
        place = package_directory() / "head" / file
        _, *expected = _NEXT.split(place.read_text(encoding="utf-8"))
        found += (_relations if file == RELATIONS else _definitions)(expected, there, str(place))
    return found


def _relations(expected: Sequence[str], there: Sequence[str], place: str) -> Iterator[Differing]:
    """Those that are gone, and columns that are."""
    is_there = _columns_by_name(there)
    makers = {table: migration.name for migration in reversed(load()) for table in migration.tables}
    for (kind, name), columns in _columns_by_name(expected).items():
        if (kind, name) not in is_there:
            yield Differing(kind, name, place, is_missing=True, made_by=makers.get(name))
            continue
        for column in columns:
            if column not in is_there[kind, name]:
                yield Differing("column", f"{column} of {kind} {name}", place, is_missing=True)


def _columns_by_name(texts: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    found = {}
    for text in texts:
        if match := _RELATION.match(text):
            found[match["kind"].lower(), match["name"]] = _COLUMN.findall(text.partition(";\n")[0])
    return found


def _definitions(expected: Sequence[str], there: Sequence[str], place: str) -> Iterator[Differing]:
    is_there = _by_name(there)
    for key, text in _by_name(expected).items():
        if is_there.get(key) != text:
            kind, name = key[:2]
            yield Differing(kind, name, place, is_missing=key not in is_there)


def _by_name(texts: Iterable[str]) -> dict[tuple[str, str, str], str]:
    """Definitions by kind, name, and what tells those of one name apart: arguments, or the table."""
    found = {}
    for text in texts:
        match = _NAMED.match(text)
        if match is None:
            continue
        kind, name, rest = match["kind"].lower(), match["name"], match["rest"]
        if kind == "trigger":
            table = _OF_TABLE.search(rest)
            name, rest = (f"{name} of table {table[1]}", table[1]) if table else (name, rest)
        found[kind, name, rest] = _NOT_LOOKED_AT.sub("", text).strip()
    return found
