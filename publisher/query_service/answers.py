"""The answer to each query of `registry/queries.py`, out of the database."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from publisher.query_service.reader import Reader
from registry import queries as asked
from registry.errors import NotFound
from registry.validation import printable, printable_origin

Answer = Callable[[Reader, Any], Coroutine[Any, Any, BaseModel]]


async def _project_by_origin(reader: Reader, request: asked.ProjectByOrigin) -> BaseModel:
    found = await reader.registry.on_host(request.host).get_project_by_origin(request.remote_origin)
    return _found(found, f"remote_origin {printable_origin(request.remote_origin)} is no active project")


async def _project_by_id(reader: Reader, request: asked.ProjectById) -> BaseModel:
    found = await reader.one(lambda registry, most: registry.get_project(request.project_id, most_bytes=most))
    return _found(found, f"project_id {request.project_id} is no project")


async def _projects(reader: Reader, request: asked.ListProjects) -> BaseModel:
    rows = await reader.registry.list_projects(
        include_inactive=request.include_inactive,
        limit=request.limit,
        after=request.after,
        host_id=await _host_id(reader, request.host),
        most_bytes=reader.share(request.limit),
    )
    found = await reader.some(
        rows, lambda registry, row, most: registry.get_project(row.id, most_bytes=most), is_page=True
    )
    is_last = len(found) == len(rows) < request.limit
    return asked.ProjectPage.model_construct(projects=found, next=None if is_last else found[-1].id)


async def _search_projects(reader: Reader, request: asked.SearchProjects) -> BaseModel:
    found = await reader.registry.on_host(request.host).search_projects(request.query)
    return asked.ProjectsFound(projects=found)


async def _search_registry(reader: Reader, request: asked.SearchRegistry) -> BaseModel:
    found = await reader.registry.search_registry(request.query, limit=request.limit, kinds=request.kinds)
    return asked.RegistryFound.model_construct(matches=found)


async def _worktree_by_path(reader: Reader, request: asked.WorktreeByPath) -> BaseModel:
    found = await reader.registry.on_host(request.host).get_worktree_by_path(request.path)
    where = f" on host {printable(request.host)}" if request.host is not None else ""
    return _found(found, f"path {printable(request.path)} is no active worktree{where}")


async def _worktree_by_id(reader: Reader, request: asked.WorktreeById) -> BaseModel:
    found = await reader.one(lambda registry, most: registry.get_worktree(request.worktree_id, most_bytes=most))
    return _found(found, f"worktree_id {request.worktree_id} is no worktree")


async def _activity_by_id(reader: Reader, request: asked.ActivityById) -> BaseModel:
    found = await reader.one(lambda registry, most: registry.get_activity(request.activity_id, most_bytes=most))
    return _found(found, f"activity_id {request.activity_id} is no activity")


async def _worktree_types(reader: Reader, _: asked.Nothing) -> BaseModel:
    rows = await reader.registry.list_worktree_types(most_bytes=reader.share(asked.MOST_ROWS))
    found = await reader.some(
        rows, lambda registry, row, most: registry.get_worktree_type(row.id, most_bytes=most), is_page=False
    )
    return asked.WorktreeTypes.model_construct(types=found)


async def _working_path(reader: Reader, request: asked.WorkingPath) -> BaseModel:
    registry = reader.registry.on_host(request.host)
    path = await registry.get_project_working_path(request.project_id, request.worktree_name)
    return asked.WorkingPathFound(path=path)


async def _inflight_work(reader: Reader, request: asked.ListInflightWork) -> BaseModel:
    host_id = await _host_id(reader, request.host)
    found = await reader.registry.get_inflight_work(request.project_id, host_id=host_id, limit=request.limit)
    return asked.InflightWorkFound(worktrees=found)


async def _hosts(reader: Reader, _: asked.Nothing) -> BaseModel:
    return asked.Hosts(hosts=await reader.registry.list_hosts())


async def _stats(reader: Reader, _: asked.Nothing) -> BaseModel:
    return await reader.registry.get_registry_stats()


async def _registry_health(reader: Reader, _: asked.Nothing) -> BaseModel:
    return asked.HealthFound.model_construct(checks=await reader.registry.registry_health())


async def _slow_queries(reader: Reader, request: asked.SlowQueries) -> BaseModel:
    return asked.SlowQueriesFound(statements=await reader.registry.registry_slow_queries(request.limit))


ANSWERS: dict[str, Answer] = {
    "project_by_origin": _project_by_origin,
    "project_by_id": _project_by_id,
    "projects": _projects,
    "search_projects": _search_projects,
    "search_registry": _search_registry,
    "worktree_by_path": _worktree_by_path,
    "worktree_by_id": _worktree_by_id,
    "activity_by_id": _activity_by_id,
    "worktree_types": _worktree_types,
    "working_path": _working_path,
    "inflight_work": _inflight_work,
    "hosts": _hosts,
    "stats": _stats,
    "registry_health": _registry_health,
    "slow_queries": _slow_queries,
}


async def _host_id(reader: Reader, name: str | None) -> UUID | None:
    """The host of this name; None where none is asked for."""
    if name is None:
        return None
    host = await reader.registry.host_named(name)
    if host is None:
        raise NotFound(f"host {printable(name)} is no host")
    return host.id


def _found(row: BaseModel | None, otherwise: str) -> BaseModel:
    if row is None:
        raise NotFound(otherwise)
    return row
