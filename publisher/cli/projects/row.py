"""The row of a project after a change, and which ids lead to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import NotFound, Unprepared

if TYPE_CHECKING:
    from uuid import UUID

    from registry.database import Registry
    from registry.models import Project


async def former_ids(registry: Registry, project_id: UUID) -> list[UUID]:
    """Ids that lead to a project as well; none where the account may not read them."""
    try:
        return await registry.former_project_ids(project_id)
    except Unprepared:
        return []


async def found_project(registry: Registry, project_id: UUID) -> Project:
    """The project of this id. Raises `NotFound`."""
    project = await registry.get_project(project_id)
    if project is None:
        raise NotFound(f"project {project_id} was deleted meanwhile")
    return project
