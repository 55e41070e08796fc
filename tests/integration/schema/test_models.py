"""Models and methods are the tables and functions of the database, column by column and parameter by parameter."""

from __future__ import annotations

import inspect
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import psycopg
import pytest

from registry import models
from registry.database import Registry
from registry.models import Row

TYPES = {
    "uuid": "UUID",
    "text": "str",
    "boolean": "bool",
    "integer": "int",
    "bigint": "int",
    "real": "float",
    "jsonb": "dict",
    "timestamp with time zone": "datetime",
    "double precision": "float",
    "text[]": "list",
}
JOINED = {"is_shortened", "project_name", "type_name", "worktree_name", "status"}


def shape(model: type[Row]) -> dict[str, tuple[str, bool]]:
    """Field to the name of its Python type, and whether it may be None."""
    return {name: _type_of(field.annotation) for name, field in model.model_fields.items()}


def _type_of(annotation: Any) -> tuple[str, bool]:
    if get_origin(annotation) is Annotated:
        return _type_of(get_args(annotation)[0])
    options = get_args(annotation)
    if NoneType in options:
        return _type_of(next(option for option in options if option is not NoneType))[0], True
    if options and isinstance(options[0], str):  # a Literal
        return "str", False
    return {"AwareDatetime": "datetime"}.get(name := getattr(annotation, "__name__", ""), name), False


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (models.Project, "projects"),
        (models.Worktree, "worktrees"),
        (models.WorktreeType, "worktree_types"),
        (models.Activity, "agent_activities"),
    ],
)
def test_a_model_of_a_table_has_its_columns(model: type[Row], table: str, database: str) -> None:
    with psycopg.connect(database) as conn:
        columns = conn.execute(
            "SELECT attname::text, format_type(atttypid, NULL), NOT attnotnull FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (table,),
        ).fetchall()
    expected = {name: (TYPES[kind], is_nullable) for name, kind, is_nullable in columns}
    joined = JOINED | ({"project_id"} - expected.keys())  # of an activity it is that of its worktree

    assert {name: kind for name, kind in shape(model).items() if name not in joined} == expected


@pytest.mark.parametrize(
    ("model", "function"),
    [
        (models.LocatedProject, "get_project_by_origin"),
        (models.ProjectMatch, "search_projects"),
        (models.LocatedWorktree, "get_worktree_by_path"),
        (models.InflightWork, "get_inflight_work"),
        (models.AgentWork, "get_agent_recent_work"),
        (models.RegistryStats, "get_registry_stats"),
        (models.RegistryMatch, "search_registry"),
        (models.HealthCheck, "registry_health"),
        (models.SlowQuery, "registry_slow_queries"),
    ],
)
def test_a_model_of_a_result_has_its_columns(model: type[Row], function: str, database: str) -> None:
    with psycopg.connect(database) as conn:
        columns = conn.execute(
            "SELECT name, format_type(type, NULL)"
            " FROM pg_proc, unnest(proargnames, proallargtypes, proargmodes) AS a (name, type, mode)"
            " WHERE proname = %s AND mode = 't'",
            (function,),
        ).fetchall()
    assert {name: kind for name, (kind, _) in shape(model).items()} == {name: TYPES[kind] for name, kind in columns}
    assert list(shape(model)) == [name for name, _ in columns]


@pytest.mark.parametrize(
    "function",
    [
        "register_project",
        "get_project_by_origin",
        "update_project",
        "deactivate_project",
        "register_worktree",
        "update_worktree",
        "update_worktree_git_state",
        "mark_worktree_merged",
        "get_worktree_by_path",
        "claim_worktree",
        "release_worktree",
        "remove_worktree",
        "add_worktree_type",
        "update_worktree_type",
        "remove_worktree_type",
        "log_activity",
        "get_agent_recent_work",
        "get_inflight_work",
        "get_project_working_path",
        "search_projects",
        "cleanup_old_activities",
        "prune_inactive_worktrees",
        "maintenance_vacuum",
        "get_registry_stats",
    ],
)
def test_a_method_has_the_parameters_of_its_function(function: str, database: str) -> None:
    with psycopg.connect(database) as conn:
        (names, defaults) = conn.execute(
            "SELECT coalesce(proargnames[1:pronargs], '{}'), pronargdefaults FROM pg_proc WHERE proname = %s",
            (function,),
        ).fetchone() or ((), None)
    method = inspect.signature(getattr(Registry, function)).parameters
    positional = [one for one in method.values() if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
    assert [f"p_{one.name}" for one in positional] == list(names)
    assert sum(one.default is not one.empty for one in positional) == defaults
