"""The query catalogue: what can be asked of the registry over NATS, and what is answered.

A query is a core NATS request to `imi.qry.v1.<query>`, of the micro service `imi-registry` (NATS ADR-32). Request and
answer are JSON; an empty request is `{}`. A refusal has the headers `Nats-Service-Error-Code` and
`Nats-Service-Error`; what the codes mean: `registry/broker/answers.py`, and 413 for an answer too large.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from registry.models import (
    KINDS,
    Activity,
    HealthCheck,
    Host,
    Kind,
    LocatedProject,
    LocatedWorktree,
    Project,
    ProjectInflightWork,
    ProjectMatch,
    RegistryMatch,
    RegistryStats,
    SlowQuery,
    Worktree,
    WorktreeType,
)
from registry.validation import NOT_BLANK

MOST_ROWS = 1000
MOST_QUERY_CHARACTERS = 512
"""Of a text to search for: no name is longer, and the time it takes grows with it."""
MOST_MATCHES = 100
MOST_STATEMENTS = 100
SEQUENCE = r"^[0-9]{1,19}$"

Text = Annotated[str, Field(pattern=NOT_BLANK)]
HostName = Annotated[
    Text | None, Field(description="Name of the host it is asked for; left out, none is named: docs/hosts.md.")
]
Limit = Annotated[int, Field(ge=1, le=MOST_ROWS, description="Most rows in the answer.")]


class Request(BaseModel):
    """What is asked for. A field that is not named here is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Nothing(Request):
    """A query without parameters."""


class ProjectByOrigin(Request):
    """The active project of an origin."""

    remote_origin: Text = Field(description="GitHub origin in any form and case.")
    host: HostName = None


class ProjectById(Request):
    """A project, active or not."""

    project_id: UUID = Field(description="Id of the project.")


class ListProjects(Request):
    """A page of projects in order of id."""

    include_inactive: bool = Field(default=False, description="Whether deactivated ones are listed, too.")
    limit: Limit = MOST_ROWS
    after: UUID | None = Field(default=None, description="`next` of the page before.")
    host: Text | None = Field(default=None, description="Name of the host that they are on; left out, all are meant.")


class WorktreeByPath(Request):
    """The active worktree at a path."""

    path: Text = Field(description="Exactly this path; doubled and trailing slashes do not count.")
    host: HostName = None


class WorktreeById(Request):
    """A worktree, active or not."""

    worktree_id: UUID = Field(description="Id of the worktree.")


class ActivityById(Request):
    """An entry of the audit log."""

    activity_id: UUID = Field(description="Id of the activity.")


class EventById(Request):
    """The data of an event, a piece at a time: what its `dataref` names, where it has none itself."""

    event_id: UUID = Field(description="`id` of the event; its `dataref` ends in it.")
    sequence: Annotated[str, Field(pattern=SEQUENCE)] = Field(description="`sequence` of the event.")
    offset: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(default=0, description="`next` of the piece before.")


class WorkingPath(Request):
    """Where a project, or a worktree of it, is or belongs on disk."""

    project_id: UUID = Field(description="Id of the project.")
    worktree_name: str | None = Field(default=None, description="Name of the worktree; left out, the trunk is meant.")
    host: HostName = None


class ListInflightWork(Request):
    """Worktrees with uncommitted or unmerged work, latest first."""

    project_id: UUID | None = Field(default=None, description="Id of the project; left out, all are meant.")
    limit: Limit = MOST_ROWS
    host: Text | None = Field(default=None, description="Name of the host that it is on; left out, all are meant.")


class SearchProjects(Request):
    """Active projects whose name or owner/repo contains or resembles a text."""

    query: Annotated[Text, Field(max_length=MOST_QUERY_CHARACTERS)] = Field(
        description="Any part of it, also misspelt."
    )
    host: HostName = None


class SearchRegistry(Request):
    """Projects, worktrees and activities that have the words."""

    query: Annotated[Text, Field(max_length=MOST_QUERY_CHARACTERS)] = Field(
        description='Words, or how they begin; "a phrase", or, -not, as in web searches.'
    )
    limit: Annotated[int, Field(ge=1, le=MOST_MATCHES)] = Field(default=20, description="Most things in the answer.")
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=len(KINDS))] = Field(
        default=list(KINDS), description="What is looked for."
    )


class SlowQueries(Request):
    """The registry's statements that take longest, where PostgreSQL records them."""

    limit: Annotated[int, Field(ge=1, le=MOST_STATEMENTS)] = Field(
        default=20, description="Most statements in the answer."
    )


class Found(BaseModel):
    """Base of what is answered beside rows."""

    model_config = ConfigDict(defer_build=True)


class ProjectPage(Found):
    """Some projects, in order of id."""

    projects: list[Project] = Field(description="The page.")
    next: UUID | None = Field(description="What to ask for as `after`; null on the last page.")


class EventPiece(Found):
    """A part of the JSON text of an event's data; all of them together are the text."""

    text: str = Field(description="Put together in order, this is one JSON object; see the event's `dataschema`.")
    next: int | None = Field(description="What to ask for as `offset`; null with the last piece.")


class WorkingPathFound(Found):
    """A directory."""

    path: str = Field(description="Absolute, without trailing slash.")


class InflightWorkFound(Found):
    """Work, latest first."""

    worktrees: list[ProjectInflightWork] = Field(description="The worktrees.")


class ProjectsFound(Found):
    """At most 20 projects, best first."""

    projects: list[ProjectMatch] = Field(description="The projects.")


class RegistryFound(Found):
    """What was found, best first."""

    matches: list[RegistryMatch] = Field(description="The things.")


class HealthFound(Found):
    """How the registry is, as far as its database knows."""

    checks: list[HealthCheck] = Field(description="One for each thing that was looked at.")


class SlowQueriesFound(Found):
    """Statements, those first that took the most time in all."""

    statements: list[SlowQuery] = Field(description="The statements.")


class WorktreeTypes(Found):
    """All types, the built-in ones first."""

    types: list[WorktreeType] = Field(description="The types.")


class Hosts(Found):
    """All hosts, by name."""

    hosts: list[Host] = Field(description="The hosts.")


class Query(NamedTuple):
    """Models of a query's request and answer."""

    request: type[Request]
    response: type[BaseModel]


QUERIES: dict[str, Query] = {
    "project_by_origin": Query(ProjectByOrigin, LocatedProject),
    "project_by_id": Query(ProjectById, Project),
    "projects": Query(ListProjects, ProjectPage),
    "search_projects": Query(SearchProjects, ProjectsFound),
    "search_registry": Query(SearchRegistry, RegistryFound),
    "worktree_by_path": Query(WorktreeByPath, LocatedWorktree),
    "worktree_types": Query(Nothing, WorktreeTypes),
    "worktree_by_id": Query(WorktreeById, Worktree),
    "activity_by_id": Query(ActivityById, Activity),
    "event_by_id": Query(EventById, EventPiece),
    "working_path": Query(WorkingPath, WorkingPathFound),
    "inflight_work": Query(ListInflightWork, InflightWorkFound),
    "hosts": Query(Nothing, Hosts),
    "stats": Query(Nothing, RegistryStats),
    "registry_health": Query(Nothing, HealthFound),
    "slow_queries": Query(SlowQueries, SlowQueriesFound),
}
"""Name, which is the last token of the subject, to the models."""
