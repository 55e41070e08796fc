"""What `Registry` is refused is an error of the one tree."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID

import pytest

from registry.database import Registry
from registry.errors import Invalid, NotFound, RegistryError

ORIGIN = "git@github.com:ada/engine.git"


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (Invalid, 'p_remote_origin "x" is not owner/repo', lambda r: r.register_project("x", "x")),
        (Invalid, "NUL", lambda r: r.register_project("a\0b", ORIGIN)),
        (Invalid, "surrogate", lambda r: r.register_project("a\ud800", ORIGIN)),
        (Invalid, "p_name", lambda r: r.register_project(" ", ORIGIN)),
        (Invalid, "p_query", lambda r: r.search_projects(" ")),
        (Invalid, "have at most 1024 bytes", lambda r: r.add_worktree_type(secrets.token_hex(5000))),
        (Invalid, "nested too deep", lambda r: r.register_project("x", ORIGIN, metadata=nested(5000))),
        (Invalid, "not be deeper than 100 levels", lambda r: r.register_project("x", ORIGIN, metadata=nested(101))),
        (Invalid, "integer out of range", lambda r: r.prune_inactive_worktrees(2**40)),
        (NotFound, "is no project", lambda r: r.deactivate_project(UUID(int=1))),
        (NotFound, "is no project", lambda r: r.get_inflight_work(UUID(int=1))),
        (NotFound, "is no active project", lambda r: r.get_project_working_path(UUID(int=1))),
        (NotFound, "is no worktree", lambda r: r.mark_worktree_merged(UUID(int=1), "ada", "x")),
        (NotFound, "is no worktree", lambda r: r.log_activity("ada", UUID(int=1), "other", "x")),
        (Invalid, 'actor: "x{80}…": it must', lambda r: r.acting(actor="x" * 201).register_project("x", ORIGIN)),
        (RegistryError, "correlation_id", lambda r: r.acting(correlation_id="x").register_project("x", ORIGIN)),
    ],
)
async def test_refusals_are_the_errors_of_the_one_tree(
    registry: Registry, error: type[RegistryError], message: str, call: object
) -> None:
    with pytest.raises(error, match=message):
        await call(registry)  # type: ignore[operator]
