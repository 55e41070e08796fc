"""A row of the old database as a row of the registry. Raises `Invalid` with field, value and rule for what is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args
from uuid import UUID

from psycopg.types.json import Jsonb

from registry.database.sqlite import values
from registry.database.sqlite.source import Row
from registry.models.activity import ActivityType

RENAMED_TYPES = {"pr": "review"}
"""Types that have another name now."""
ACTIVITY_TYPES = get_args(ActivityType)


class Change(NamedTuple):
    """What is otherwise than it stood there."""

    field: str
    text: str


class Mapped(NamedTuple):
    """A row of the registry."""

    id: UUID
    fields: dict[str, Any]
    """Column → value."""
    changes: list[Change]


class _Reader:
    """Reads values of one row and collects what there is to say."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def say(self, field: str, text: str) -> None:
        self.changes.append(Change(field, text))

    def id(self, table: str, row: Row) -> UUID:
        found: UUID = self._keep("id", values.uuid(table, row["id"]))
        return found

    def time(self, field: str, row: Row, otherwise: datetime | None = None) -> datetime:
        found: datetime = self._keep(field, values.time(field, row[field], otherwise or datetime.now(UTC)))
        return found

    def times(self, row: Row) -> dict[str, datetime]:
        created = self.time("created_at", row)
        return {"created_at": created, "updated_at": self.time("updated_at", row, created)}

    def metadata(self, row: Row, id_: UUID) -> Jsonb:
        return Jsonb({} if str(row["id"]).lower() == str(id_) else {"sqlite_id": str(row["id"])})

    def _keep(self, field: str, read: values.Read) -> Any:
        if read.note:
            self.say(field, read.note)
        return read.value


def project(row: Row) -> Mapped:
    """A repository; its origin is normalised by the database."""
    reader = _Reader()
    id_ = reader.id("repositories", row)
    branch = values.word("default_branch", row["default_branch"])
    if branch is None:
        reader.say("default_branch", "default_branch is empty; it is now main")
    fields = {
        "name": values.required("name", values.text("name", row["name"])),
        "remote_origin": values.required("remote_url", values.word("remote_url", row["remote_url"])),
        "default_branch": branch or "main",
        "trunk_path": values.required("path", values.text("path", row["path"])),
        "active": values.boolean("active", row["active"]),
        "metadata": reader.metadata(row, id_),
        **reader.times(row),
    }
    return Mapped(id_, fields, reader.changes)


def worktree_type(row: Row) -> tuple[str, dict[str, Any], list[Change]]:
    """A type, by its name of today, and its columns: of one that a person added. The database numbers it."""
    reader = _Reader()
    name = values.required("name", values.word("name", row["name"]))
    fields: dict[str, Any] = {"name": name}
    for field, usual in (("branch_prefix", f"{name}/"), ("worktree_prefix", f"{name}-")):
        prefix = values.word(field, row[field])
        if prefix is None:
            reader.say(field, f'{field} is empty; it is now "{usual}"')
        fields[field] = prefix or usual
    fields["description"] = values.text("description", row["description"])
    fields["created_at"] = reader.time("created_at", row)
    return RENAMED_TYPES.get(name, name), fields, reader.changes


def type_name(row: Row) -> str:
    """The type of a worktree, by its name of today."""
    name = values.required("worktree_type", values.word("worktree_type", row["worktree_type"]))
    return RENAMED_TYPES.get(name, name)


def worktree(row: Row, project_id: UUID, type_id: int, *, is_project_active: bool) -> Mapped:
    """A worktree; one of an inactive project is inactive."""
    reader = _Reader()
    id_ = reader.id("worktrees", row)
    is_active = values.boolean("active", row["active"])
    if is_active and not is_project_active:
        reader.say("active", "its repository is inactive, so it is, too")
    fields = {
        "project_id": project_id,
        "type_id": type_id,
        "name": values.required("worktree_name", values.text("worktree_name", row["worktree_name"])),
        "branch_name": values.required("branch_name", values.word("branch_name", row["branch_name"])),
        "path": values.required("path", values.text("path", row["path"])),
        "agent_id": values.text("agent_id", row["agent_id"]),
        "active": is_active and is_project_active,
        "metadata": reader.metadata(row, id_),
        **reader.times(row),
    }
    return Mapped(id_, fields, reader.changes)


def activity(row: Row, worktree_id: UUID) -> Mapped:
    """An activity. A type that is none becomes `other`, and stands in the metadata."""
    reader = _Reader()
    id_ = reader.id("agent_activities", row)
    type_ = values.word("activity_type", row["activity_type"]) or ""
    file_path = values.text("file_path", row["file_path"])
    description = values.text("description", row["description"])
    if description is None:
        description = f"{type_} {file_path or ''}".strip() or "other"
        reader.say("description", f'description is empty; it is now "{description}"')
    metadata = dict(reader.metadata(row, id_).obj)
    if type_ not in ACTIVITY_TYPES:
        reader.say("activity_type", f'activity_type "{type_}" is now other')
        metadata["sqlite_activity_type"] = type_
    fields = {
        "agent_id": values.required("agent_id", values.text("agent_id", row["agent_id"])),
        "worktree_id": worktree_id,
        "activity_type": type_ if type_ in ACTIVITY_TYPES else "other",
        "file_path": file_path,
        "description": description,
        "metadata": Jsonb(metadata),
        "created_at": reader.time("created_at", row),
    }
    return Mapped(id_, fields, reader.changes)
