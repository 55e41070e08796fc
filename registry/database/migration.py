"""The files of `migrations/`: read, checked and taken apart. Applying them is `registry/database/migrate.py`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from registry.errors import Invalid

ROLLBACK = "999_rollback.sql"
FROZEN = "frozen.json"
"""Checksum of each released file, by its name: these are never edited."""
DOWN = "down"
"""The folder of the ways back: each file is called as the migration that it takes back."""
_FILE_NAME = re.compile(r"(\d{3})_[a-z0-9_]+\.sql")
_PHASE = re.compile(r"^-- phase: *(.*?) *$", re.MULTILINE)
_COMPATIBLE = re.compile(r"^-- compatible down to: *(.*?) *$", re.MULTILINE)
# A statement ends at a semicolon outside of comments, strings, quoted names and dollar quotes.
_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|(?P<end>;)""", re.DOTALL
)
_LEADING = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
_CREATED_TABLE = re.compile(r"CREATE (?:UNLOGGED )?TABLE IF NOT EXISTS (?:public\.)?(\w+) \(\n(.*?)\n\)", re.DOTALL)
_CREATED_COLUMN = re.compile(r"^ {4}([a-z_]\w*) ", re.MULTILINE)


@dataclass(frozen=True)
class Migration:
    """One file of `migrations/`: its version is the number its name starts with."""

    version: int
    name: str
    sql: str
    down: str | None = None
    """What takes it back; None for 001 to 006, which are taken back as a whole."""

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, the same for either kind of line end."""
        return _checksum(self.sql)

    @property
    def compatible_down_to(self) -> int | None:
        """A program that knows the migrations up to this version works with this one applied, too; None: none does.

        Said by a line `-- compatible down to: 005`. Raises `Invalid` for a version that is not an earlier one.
        """
        match = _COMPATIBLE.search(self.sql)
        if match is None:
            return None
        if not match[1].isdecimal() or not 1 <= int(match[1]) < self.version:
            raise Invalid(
                f'migration {self.name}: "compatible down to: {match[1]}" names no earlier version, as 005 does'
            )
        return int(match[1])

    @property
    def is_for_afterwards(self) -> bool:
        """Whether it is applied only once no program runs that does not know it: it removes what those need.

        Said by a line `-- phase: after`. Raises `Invalid` for another word.
        """
        match = _PHASE.search(self.sql)
        if match is not None and match[1] not in {"before", "after"}:
            raise Invalid(f'migration {self.name}: "phase: {match[1]}" is neither before nor after')
        return match is not None and match[1] == "after"

    @property
    def tables(self) -> dict[str, frozenset[str]]:
        """Tables the file creates where they do not exist, and their columns."""
        return {name: frozenset(_CREATED_COLUMN.findall(columns)) for name, columns in _CREATED_TABLE.findall(self.sql)}


class Statement(NamedTuple):
    """One SQL statement of a file and the line it starts on."""

    text: str
    line: int


def load(directory: Path | None = None) -> list[Migration]:
    """The migrations of `directory` (default: this package's) in order, with their ways back.

    The rollback is none of them. Raises `Invalid` for a file whose name, number or text is not as it must be.
    """
    folder = directory or package_directory()
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        if path.name == ROLLBACK:
            continue
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise Invalid(f"migration {path.name}: expected a name like 001_create_schema.sql")
        down = folder / DOWN / path.name
        back = down.read_text(encoding="utf-8") if down.exists() else None
        migration = Migration(int(match[1]), path.name, path.read_text(encoding="utf-8"), back)
        if migration.version in found:
            raise Invalid(f"migrations {found[migration.version].name} and {path.name} have the same number")
        found[migration.version] = migration
    if not found:
        raise Invalid(f"no migrations in {folder}")
    names = {migration.name for migration in found.values()}
    for path in sorted((folder / DOWN).glob("*.sql")):
        if path.name not in names:
            raise Invalid(f"migration {DOWN}/{path.name}: there is no {path.name} that it takes back")
    _refuse_edited(folder, found.values())
    return list(found.values())


def _refuse_edited(folder: Path, migrations: Collection[Migration]) -> None:
    """Raise `Invalid` for a released file whose text is not the one that was released, or that is gone."""
    if not (folder / FROZEN).exists():
        return
    checksums = {migration.name: migration.checksum for migration in migrations}
    checksums |= {f"{DOWN}/{one.name}": _checksum(one.down) for one in migrations if one.down is not None}
    for name, released in json.loads((folder / FROZEN).read_text()).items():
        if checksums.get(name) != released:
            raise Invalid(f"migration {name} was released and must stay as it was; put changes into a new file")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def package_directory() -> Path:
    """`registry/_migrations` of an installed package, `migrations/` of a checkout."""
    packaged = Path(__file__).parents[1] / "_migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


def waiting(migrations: Sequence[Migration], applied: Collection[int]) -> set[int]:
    """Versions that are for afterwards: the last ones, behind all that are to be applied before.

    One that others stand behind waits no more: those are of a later version still, and none of before the first runs.
    In a database that has nothing yet there is nobody to wait for.
    """
    found: set[int] = set()
    for migration in reversed(migrations if applied else []):
        if migration.version in applied or not migration.is_for_afterwards:
            break
        found.add(migration.version)
    return found


def split(sql: str) -> list[Statement]:
    """The statements of `sql`, without their semicolons and the comments that stand before them."""
    statements = []
    start = 0
    ends = [match.start() for match in _TOKEN.finditer(sql) if match["end"]]
    for end in (*ends, len(sql)):
        begin = _LEADING.match(sql, start, end).end()  # type: ignore[union-attr]  # matches the empty string
        if begin < end:
            statements.append(Statement(sql[begin:end].rstrip(), sql.count("\n", 0, begin) + 1))
        start = end + 1
    return statements
