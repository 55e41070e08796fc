"""Projects and worktrees: what they are, what happened to them, what they were at any time, how to reach them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from shlex import quote
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from publisher.web.console.console import Console, console_of
from publisher.web.console.numbers import number_of
from publisher.web.console.render import HEADERS, is_piece, page, piece
from publisher.web.console.sources import registered, story
from publisher.web.console.sources.lines import NO_NEWS
from publisher.web.console.sources.wanted import Wanted, uuid_of
from registry import exact
from registry.errors import NotFound
from registry.validation import check_text


async def _projects(request: Request) -> Response:
    given = request.query_params
    name = given.get("name", "")
    check_text(name, "name")
    after = (name, uuid_of("after", given["after"])) if given.get("after") else None
    console = console_of(request)
    found = await registered.projects(console.database, after)
    last = found[registered.PAGE_ROWS - 1] if len(found) > registered.PAGE_ROWS else None
    further = urlencode({"name": last.name, "after": last.id}) if last else ""
    return page(
        request,
        "projects.html",
        projects=found[: registered.PAGE_ROWS],
        further=further,
        is_first=not after,
        unsettled=await registered.of_origins(console.database, console.unsettled) if console.unsettled else [],
    )


async def _project(request: Request) -> Response:
    database, id_ = console_of(request).database, uuid_of("project", request.path_params["id"])
    found = await registered.project(database, id_)
    if str(found.id) != id_:  # it had that id before; links to it go on to lead here
        return RedirectResponse(f"/projects/{found.id}", status_code=308, headers=HEADERS)
    worktrees = await registered.worktrees(database, id_)
    commands = [
        f"imi-registry project show {id_}",
        f"imi-registry worktree list --project {id_}",
        f"imi-registry history show project {id_} --diff",
        f"imi-registry events replay --from-start --project {id_}",
    ]
    return page(
        request,
        "project.html",
        project=found,
        former_ids=await registered.former_ids(database, id_),
        unsettled=await _unsettled(console_of(request), found),
        places=await registered.places(database, id_),
        worktrees=worktrees,
        commands=commands,
    )


class _ToSettle(NamedTuple):
    """Why a project keeps another id than registries agreed on for its origin."""

    agreed_id: UUID
    reason: str
    other: registered.Project | None
    """The project that has the agreed id here."""


async def _unsettled(console: Console, project: registered.Project) -> _ToSettle | None:
    known = console.unsettled.get(project.remote_origin)
    if known is None:
        return None
    try:
        other = await registered.project(console.database, str(known.agreed_id))
    except NotFound:  # it has the agreed id soon
        return _ToSettle(*known, other=None)
    return _ToSettle(*known, other=other) if other.id != project.id else None


async def _worktree(request: Request) -> Response:
    database, id_ = console_of(request).database, uuid_of("worktree", request.path_params["id"])
    found = await registered.worktree(database, id_)
    activities = await registered.activities(database, id_)
    commands = [
        f"cd {quote(found.path)}",
        f"imi-registry worktree show {id_}",
        f"imi-registry worktree claim {id_}",
        f"imi-registry history show worktree {id_} --diff",
    ]
    return page(request, "worktree.html", worktree=found, activities=activities, commands=commands)


async def _history(entity: str, request: Request) -> Response:
    """The timeline with its slider; asked for by a script once the page is there, or by a link."""
    found = await story.story_of(console_of(request).database, entity, uuid_of(entity, request.path_params["id"]))
    asked = request.query_params.get("as_of", "")
    values: dict[str, Any] = {"story": found, "as_of": asked, "at": ""}
    if asked:
        values |= await _as_of(request, found, asked)
    else:
        values |= await _behind(request, found.lines[0].id, found.lines[0].occurred_at)
    if is_piece(request):
        return piece(request, "history/history.html", **values)
    return page(request, "history/history_page.html", **values)


async def _state(request: Request) -> Response:
    """What it was like behind one of its events: one stop of the slider."""
    number = number_of(request.query_params.get("event", ""), "event")
    return piece(request, "history/state.html", **await _behind(request, number, None))


async def _behind(request: Request, outbox_id: int, time: datetime | None) -> dict[str, Any]:
    try:
        state = await story.state_behind(console_of(request).database, outbox_id)
    except NotFound as error:
        return {"fields": [], "said": str(error), "chosen": outbox_id, "time": time}
    said = "It is deleted." if state.values is None else ""
    return {"fields": _fields(state.values, state.changed), "said": said, "chosen": outbox_id, "time": time}


async def _as_of(request: Request, found: story.Story, asked: str) -> dict[str, Any]:
    time = Wanted.of({"until": asked}).until or datetime.now(UTC)
    line = found.at(time)
    if line is not None:
        return await _behind(request, line.id, time)
    try:
        said = await story.nothing_before(console_of(request).database, found)
    except NotFound as error:  # removed meanwhile
        said = str(error)
    return {"fields": [], "said": said, "chosen": 0, "time": time}


def _fields(values: dict[str, Any] | None, changed: dict[str, Any]) -> list[tuple[str, str, bool, str]]:
    """Name, value, whether the event changed it, and the value before; what it changed comes first."""
    fields = [(name, _text(value), name in changed, _text(changed.get(name))) for name, value in (values or {}).items()]
    return sorted(fields, key=lambda field: (not field[2], field[0] in NO_NEWS))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else exact.dumps(value).decode()


ROUTES = [
    Route("/projects", _projects),
    Route("/projects/{id}", _project),
    Route("/worktrees/{id}", _worktree),
    Route("/projects/{id}/history", partial(_history, "project")),
    Route("/worktrees/{id}/history", partial(_history, "worktree")),
    Route("/state", _state),
]
