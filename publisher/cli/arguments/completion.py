"""Names that the shell completes: of projects, worktrees and types of the registry that the command would use.

A shell waits for the answer while somebody types, and shows what is written: so it is quick, or nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import typer

from registry.errors import RegistryError

if TYPE_CHECKING:
    from registry.database import Registry

PATIENCE_SECONDS = 2.0
MOST = 100
"""A list of more is no help."""
PLAIN = re.compile(r"[\w@%+=][\w@%+=,./-]*")
"""A name that a shell takes as it is; no option, no path, and nothing that a terminal would obey."""


def projects(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of active projects."""
    return _names(ctx, incomplete, lambda registry: registry.project_names(incomplete, MOST))


def worktrees(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of active worktrees; NAME@PROJECT where several projects have one of that name."""
    return _names(ctx, incomplete, lambda registry: registry.worktree_names(incomplete, MOST))


def entities(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of what the argument `entity` in front says."""
    find = {"project": projects, "worktree": worktrees}.get(str(ctx.params.get("entity")))
    return [] if find is None else find(ctx, incomplete)


def types(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of worktree types."""

    async def all_types(registry: Registry) -> list[str]:
        return [kind.name for kind in await registry.list_worktree_types()]

    return _names(ctx, incomplete, all_types)


def hosts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of hosts."""

    async def all_hosts(registry: Registry) -> list[str]:
        return [host.name for host in await registry.list_hosts()]

    return _names(ctx, incomplete, all_hosts)


def _names(ctx: typer.Context, incomplete: str, find: Callable[[Registry], Awaitable[Sequence[str]]]) -> list[str]:
    """What `find` finds in the database the command would use, as far as it can be typed; nothing without one."""
    from publisher.cli.servers.session import located
    from registry.database import Registry

    async def work() -> Sequence[str]:
        settings = located("database_url", database_url=ctx.params.get("database_url"))
        url = settings.database_url or ""
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            Registry.connect(url, max_connections=1, timeout=PATIENCE_SECONDS) as registry,
        ):
            return await find(registry)

    found: Sequence[str] = []
    # Whatever is wrong, the command itself will say so; a message now would stand in the middle of what is typed.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(RegistryError, OSError, TimeoutError):
        found = asyncio.run(work())
    return [name for name in found if name.startswith(incomplete) and PLAIN.fullmatch(name)]
