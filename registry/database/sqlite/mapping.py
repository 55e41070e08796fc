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


class Mapped(NamedTuple):
    """A row of the registry."""

    id: UUID
    fields: dict[str, Any]
    """Column → value."""
    notes: list[str]


class _Reader:
    """Reads values of one row and collects what there is to say."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def keep(self, read: values.Read) -> Any:
        if read.note:
            self.notes.append(read.note)
        return read.value

    def times(self, row: Row) -> dict[str, datetime]:
        now = datetime.now(UTC)
        created = self.keep(values.time("created_at", row["created_at"], now))
        return {"created_at": created, "updated_at": self.keep(values.time("updated_at", row["updated_at"], created))}

    def metadata(self, row: Row, id_: UUID) -> Jsonb:
        return Jsonb({} if str(row["id"]).lower() == str(id_) else {"sqlite_id": str(row["id"])})


def project(row: Row) -> Mapped:
    """A repository; its origin is normalised by the database."""
    reader = _Reader()
    id_ = reader.keep(values.uuid("repositories", row["id"]))
    branch = values.text("default_branch", row["default_branch"])
    if branch is None:
        reader.notes.append("default_branch is empty; it is now main")
    fields = {
        "name": values.required("name", row["name"]),
        "remote_origin": values.required("remote_url", row["remote_url"]),
        "default_branch": branch or "main",
        "trunk_path": values.required("path", row["path"]),
        "active": values.boolean("active", row["active"]),
        "metadata": reader.metadata(row, id_),
        **reader.times(row),
    }
    return Mapped(id_, fields, reader.notes)


def worktree_type(row: Row) -> dict[str, Any]:
    """A type that a person added."""
    name = values.required("name", row["name"])
    return {
        "name": name,
        "branch_prefix": values.text("branch_prefix", row["branch_prefix"]) or f"{name}/",
        "worktree_prefix": values.text("worktree_prefix", row["worktree_prefix"]) or f"{name}-",
        "description": values.text("description", row["description"]),
        "created_at": values.time("created_at", row["created_at"], datetime.now(UTC)).value,
    }


def type_name(row: Row) -> str:
    """The type of a worktree, by its name of today."""
    name = values.required("worktree_type", row["worktree_type"])
    return RENAMED_TYPES.get(name, name)


def worktree(row: Row, project_id: UUID, type_id: int, *, is_project_active: bool) -> Mapped:
    """A worktree; one of an inactive project is inactive."""
    reader = _Reader()
    id_ = reader.keep(values.uuid("worktrees", row["id"]))
    is_active = values.boolean("active", row["active"])
    if is_active and not is_project_active:
        reader.notes.append("its repository is inactive, so it is, too")
    fields = {
        "project_id": project_id,
        "type_id": type_id,
        "name": values.required("worktree_name", row["worktree_name"]),
        "branch_name": values.required("branch_name", row["branch_name"]),
        "path": values.required("path", row["path"]),
        "agent_id": values.text("agent_id", row["agent_id"]),
        "active": is_active and is_project_active,
        "metadata": reader.metadata(row, id_),
        **reader.times(row),
    }
    return Mapped(id_, fields, reader.notes)


def activity(row: Row, worktree_id: UUID) -> Mapped:
    """An activity. A type that is none becomes `other`, and stands in the metadata."""
    reader = _Reader()
    id_ = reader.keep(values.uuid("agent_activities", row["id"]))
    type_ = values.text("activity_type", row["activity_type"]) or ""
    file_path = values.text("file_path", row["file_path"])
    said = values.text("description", row["description"]) or f"{type_} {file_path or ''}".strip()
    metadata = dict(reader.metadata(row, id_).obj)
    if type_ not in ACTIVITY_TYPES:
        reader.notes.append(f'activity_type "{type_}" is now other')
        metadata["sqlite_activity_type"] = type_
    fields = {
        "agent_id": values.required("agent_id", row["agent_id"]),
        "worktree_id": worktree_id,
        "activity_type": type_ if type_ in ACTIVITY_TYPES else "other",
        "file_path": file_path,
        "description": said or "other",
        "metadata": Jsonb(metadata),
        "created_at": reader.keep(values.time("created_at", row["created_at"], datetime.now(UTC))),
    }
    return Mapped(id_, fields, reader.notes)
