"""What people call a host, and what hosts are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import NotFound, Unprepared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from registry.database import Registry
    from registry.models import Host, Project, ProjectHost


async def known(registry: Registry, name: str) -> Host:
    """The host of this name. Raises `NotFound`, with the names there are."""
    host = await registry.host_named(name)
    if host is None:
        names = ", ".join(one.name for one in await registry.list_hosts())
        raise NotFound(f'no host "{name}"; there are {names}')
    return host


async def host_names(registry: Registry, hosts: Sequence[UUID]) -> dict[UUID, str]:
    """Names by id, where one of `hosts` is another than the default one; none where nobody told of hosts.

    Nor where they may not be read: who had rights on projects and worktrees alone goes on with these.
    """
    from registry.models import DEFAULT_HOST

    if not set(hosts) - {DEFAULT_HOST}:
        return {}
    try:
        return {host.id: host.name for host in await registry.list_hosts()}
    except Unprepared:
        return {}


async def whereabouts(
    registry: Registry, project_id: UUID, hosts: Sequence[UUID]
) -> tuple[list[ProjectHost], dict[UUID, str]]:
    """On which hosts a project is, and names by id as of `host_names`, its `hosts` among them."""
    try:
        places = await registry.project_hosts(project_id)
    except Unprepared:
        places = []
    return places, await host_names(registry, [*hosts, *(place.host_id for place in places)])


async def projects_on(registry: Registry, host: str | None, *, include_inactive: bool) -> list[Project]:
    """The projects on the host of this name, each with its trunk path there; without one, all of them."""
    if host is None:
        return await registry.list_projects(include_inactive=include_inactive)
    on = await known(registry, host)
    places = {place.project_id: place.trunk_path for place in await registry.project_hosts(host_id=on.id)}
    found = await registry.list_projects(include_inactive=include_inactive, host_id=on.id)
    return [one.model_copy(update={"trunk_path": places[one.id]}) for one in found if one.id in places]
