"""Queries as a component asks them: over NATS, without access to the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from pydantic import BaseModel

from registry import exact
from registry.arguments import check_methods
from registry.broker.answers import raise_refusal
from registry.broker.errors import from_nats
from registry.broker.permitted import NotPermitted
from registry.errors import Invalid, RegistryError, Unavailable
from registry.events.envelope import Envelope
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
from registry.queries import (
    MOST_ROWS,
    EventPiece,
    HealthFound,
    Hosts,
    InflightWorkFound,
    ProjectPage,
    ProjectsFound,
    RegistryFound,
    SlowQueriesFound,
    WorkingPathFound,
    WorktreeTypes,
)
from registry.subjects import Names

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class QueryClient:
    """The queries of `registry/queries.py`, one method each.

    Where a host is given, the answer is for that one, and its lists are of that one alone; the paths of a client that
    has a host are of that one anyway.

    Raises `NotFound`, `Invalid`, and `Unavailable` when nobody answers within `timeout` seconds: asking again is safe.
    """

    def __init__(self, client: Client, names: Names, *, timeout: float = 5.0, host: str | None = None) -> None:
        self._client = client
        self._names = names
        self._timeout = timeout
        self._host = host

    async def project_by_origin(self, remote_origin: str, *, host: str | None = None) -> LocatedProject:
        """The active project of an origin, in any form."""
        return await self._ask("project_by_origin", LocatedProject, **self._from(host), remote_origin=remote_origin)

    async def project_by_id(self, project_id: UUID) -> Project:
        """A project, active or not."""
        return await self._ask("project_by_id", Project, project_id=project_id)

    async def projects(
        self,
        *,
        include_inactive: bool = False,
        limit: int = MOST_ROWS,
        after: UUID | None = None,
        host: str | None = None,
    ) -> ProjectPage:
        """A page of projects in order of id; `after` is the `next` of the page before."""
        return await self._ask(
            "projects", ProjectPage, **_given(host), include_inactive=include_inactive, limit=limit, after=after
        )

    async def search_projects(self, query: str, *, host: str | None = None) -> list[ProjectMatch]:
        """Active projects that contain or resemble `query`: best first, at most 20."""
        return (await self._ask("search_projects", ProjectsFound, **self._from(host), query=query)).projects

    async def search_registry(
        self, query: str, *, limit: int = 20, kinds: Sequence[Kind] = KINDS
    ) -> list[RegistryMatch]:
        """Projects, worktrees and activities that have the words of `query`, or words that begin so: best first.

        `query` is written as in web searches: words, "a phrase", or, -not. Misspelt words are forgiven where nothing
        has them as they stand.
        """
        return (await self._ask("search_registry", RegistryFound, query=query, limit=limit, kinds=list(kinds))).matches

    async def worktree_by_path(self, path: str, *, host: str | None = None) -> LocatedWorktree:
        """The active worktree at a path."""
        return await self._ask("worktree_by_path", LocatedWorktree, **self._from(host), path=path)

    async def worktree_by_id(self, worktree_id: UUID) -> Worktree:
        """A worktree, active or not."""
        return await self._ask("worktree_by_id", Worktree, worktree_id=worktree_id)

    async def activity_by_id(self, activity_id: UUID) -> Activity:
        """An entry of the audit log, also one in a worktree that was deleted."""
        return await self._ask("activity_by_id", Activity, activity_id=activity_id)

    async def event_data(self, event: Envelope) -> dict[str, Any]:
        """The data of an event, however large: where it has a `dataref` instead, what that names.

        Raises `NotFound` when the outbox no longer keeps it.
        """
        if event.data is not None:
            return event.data
        pieces: list[str] = []
        offset: int | None = 0
        while offset is not None:
            piece = await self._ask(
                "event_by_id", EventPiece, event_id=event.id, sequence=event.sequence, offset=offset
            )
            pieces.append(piece.text)
            offset = piece.next
        return _data_in("".join(pieces))

    async def worktree_types(self) -> list[WorktreeType]:
        """All types, the built-in ones first."""
        return (await self._ask("worktree_types", WorktreeTypes)).types

    async def working_path(self, project_id: UUID, worktree_name: str | None = None, *, host: str | None = None) -> str:
        """Where a project's trunk, or a worktree of it, is or belongs on disk."""
        asked = {"project_id": project_id, "worktree_name": worktree_name} | self._from(host)
        return (await self._ask("working_path", WorkingPathFound, **asked)).path

    async def inflight_work(
        self, project_id: UUID | None = None, *, limit: int = MOST_ROWS, host: str | None = None
    ) -> list[ProjectInflightWork]:
        """Worktrees that are not level with their trunk, latest first; of all projects without an id."""
        asked = {"project_id": project_id, "limit": limit} | _given(host)
        return (await self._ask("inflight_work", InflightWorkFound, **asked)).worktrees

    async def hosts(self) -> list[Host]:
        """All hosts, by name."""
        return (await self._ask("hosts", Hosts)).hosts

    async def stats(self) -> RegistryStats:
        """Counts of everything."""
        return await self._ask("stats", RegistryStats)

    async def registry_health(self) -> list[HealthCheck]:
        """How the registry is, as far as its database knows, one entry for each thing that was looked at."""
        return (await self._ask("registry_health", HealthFound)).checks

    async def slow_queries(self, *, limit: int = 20) -> list[SlowQuery]:
        """The registry's statements, those first that took the most time in all.

        Raises `Conflict` where PostgreSQL does not record them: docs/health.md.
        """
        return (await self._ask("slow_queries", SlowQueriesFound, limit=limit)).statements

    def _from(self, host: str | None) -> dict[str, object]:
        return _given(self._host if host is None else host)

    async def _ask(self, query: str, answer: type[AnswerT], /, **fields: object) -> AnswerT:
        subject = self._names.query_subject(query)
        payload = exact.dumps(fields, f"query {query}")
        if len(payload) > self._client.max_payload:
            raise Invalid(f"query {query}: it has {len(payload)} bytes, at most {self._client.max_payload} are allowed")
        try:
            message = await self._client.request(subject, payload, timeout=self._timeout)
        except nats.errors.NoRespondersError as error:
            raise Unavailable(
                f'query {query}: nobody answers on "{subject}"; is imi-registry serve running?'
            ) from error
        except NotPermitted as error:
            raise from_nats(error, f"query {query}") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"query {query}: no answer within {self._timeout:g} s") from error
        raise_refusal(message.headers)
        return _answer_in(query, answer, message.data)


def _answer_in(query: str, model: type[AnswerT], text: bytes) -> AnswerT:
    try:
        return model.model_validate(exact.loads(text))
    except ValueError as error:  # pydantic's is one, too
        raise RegistryError(f"query {query}: the answer is none that this version knows") from error


def _data_in(text: str) -> dict[str, Any]:
    """The data of an event. Raises `RegistryError` for what is none: its pieces may be those of two publishers."""
    try:
        data = exact.loads(text)
    except ValueError as error:
        raise RegistryError("query event_by_id: the pieces together are no JSON") from error
    if not isinstance(data, dict):
        raise RegistryError("query event_by_id: the pieces together are no object")
    return data


def _given(host: str | None) -> dict[str, object]:
    """The field `host`, where it is given: a publisher of an earlier version does not know it."""
    return {} if host is None else {"host": host}


check_methods(QueryClient)
