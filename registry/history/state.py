"""The state of the registry as its events tell it: projects, worktrees and types, by id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from registry.errors import Conflict, Invalid
from registry.events.envelope import attributes_of
from registry.events.filter import what_happened
from registry.models import Project, Worktree, WorktreeType
from registry.validation import from_validation, told

HEARTBEAT = "heartbeat"
"""The action of the event of the registry that changes nothing."""


class DataElsewhere(Conflict):
    """An event does not say what the row is now: it was too large to carry its data, or its data is no row.

    Take a new snapshot.
    """


@dataclass
class State:
    """What the tables hold. Two of their columns, `updated_at` and `last_sync_at`, change without an event, too."""

    projects: dict[UUID, Project] = field(default_factory=dict)
    worktrees: dict[UUID, Worktree] = field(default_factory=dict)
    types: dict[int, WorktreeType] = field(default_factory=dict)

    def apply(self, payload: bytes) -> None:
        """Take one event. Events of one row must come in order; what is no matter of these tables changes nothing.

        Raises `DataElsewhere`, and leaves the state as it is.
        """
        try:
            envelope = attributes_of(payload)
        except Invalid as error:
            raise DataElsewhere(str(error)) from error
        entity, action, entity_id = what_happened(envelope)
        if entity not in {"project", "worktree", "worktree_type", "registry"} or action == HEARTBEAT:
            return
        data = None if "dataref" in envelope else envelope.get("data")
        is_row_gone = action == "deleted" and entity in {"project", "worktree"}
        if data is None and not is_row_gone:
            raise DataElsewhere(f"event {told(envelope['id'])} has its data in the database only")
        try:
            self._take(entity, action, entity_id, data or {})
        except (KeyError, TypeError, AttributeError, ValueError) as error:  # what pydantic raises is a ValueError
            reason = from_validation(error, "data") if isinstance(error, ValidationError) else repr(error)
            raise DataElsewhere(f"event {told(envelope['id'])} does not tell the row: {told(str(reason))}") from error

    def _take(self, entity: str, action: str | None, entity_id: str | None, data: dict[str, Any]) -> None:
        if entity == "project" and action == "deleted":
            self.projects.pop(UUID(entity_id), None)
        elif entity == "worktree" and action == "deleted":
            self.worktrees.pop(UUID(entity_id), None)
        elif entity == "project" and action == "merged":
            self._merge(data)
        elif entity == "project":
            self.put_project(Project.model_validate(data | {"id": data["project_id"]}))
        elif entity == "worktree":
            self.put_worktree(self._worktree(data))
        elif entity == "worktree_type":
            self._apply_type(data, is_gone=action == "removed")
        else:
            self._truncate(data["table"])

    def _merge(self, data: dict[str, Any]) -> None:
        """What is of the loser is of the project that goes on, before the events of its worktrees say so."""
        loser = UUID(data["loser"]["project_id"])
        project = Project.model_validate(data | {"id": data["project_id"]})
        self.put_project(project)
        self.projects.pop(loser, None)
        for worktree in [worktree for worktree in self.worktrees.values() if worktree.project_id == loser]:
            self.put_worktree(worktree.model_copy(update={"project_id": project.id, "project_name": project.name}))

    def put_project(self, project: Project) -> None:
        """Take a row; a new name is a new name in its worktrees, too."""
        before = self.projects.get(project.id)
        self.projects[project.id] = project
        if before is not None and before.name != project.name:
            for worktree in [worktree for worktree in self.worktrees.values() if worktree.project_id == project.id]:
                self.put_worktree(worktree.model_copy(update={"project_name": project.name}))

    def put_worktree(self, worktree: Worktree) -> None:
        """Take a row."""
        self.worktrees[worktree.id] = worktree

    def put_type(self, worktree_type: WorktreeType) -> None:
        """Take a row; a new name is a new name in the worktrees of that type, too."""
        before = self.types.get(worktree_type.id)
        self.types[worktree_type.id] = worktree_type
        if before is not None and before.name != worktree_type.name:
            for worktree in [worktree for worktree in self.worktrees.values() if worktree.type_id == worktree_type.id]:
                self.put_worktree(worktree.model_copy(update={"type_name": worktree_type.name}))

    def _worktree(self, data: dict[str, Any]) -> Worktree:
        """The names in the event are those the writer saw; ours are as new as the events of project and type."""
        project = self.projects.get(UUID(data["project_id"]))
        worktree_type = self.types.get(data["type_id"])
        joined = {
            "id": data["worktree_id"],
            "project_name": project.name if project else data["project_name"],
            "type_name": worktree_type.name if worktree_type else data["type"],
        }
        return Worktree.model_validate(data | joined)

    def _apply_type(self, data: dict[str, Any], *, is_gone: bool) -> None:
        if is_gone:
            self.types.pop(data["type_id"], None)
        else:
            self.put_type(WorktreeType.model_validate(data | {"id": data["type_id"]}))

    def _truncate(self, table: str) -> None:
        if table == "projects":
            self.projects.clear()
        elif table == "worktrees":
            self.worktrees.clear()
        elif table == "worktree_types":
            self.types.clear()
