"""Causes: command, outcome, events, and what they caused, as one tree, from any of them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.web.console.console import console_of
from publisher.web.console.numbers import number_of
from publisher.web.console.render import page
from publisher.web.console.sources import ledger, outbox
from publisher.web.console.sources.causes import Node, causes_of
from publisher.web.console.sources.wanted import uuid_of
from registry.errors import NotFound

MOST_LEVELS = 40


async def _of_event(request: Request) -> Response:
    """From an event: its conversation."""
    number = number_of(request.path_params["id"], "event")
    line = (await outbox.lines_of(console_of(request).database, [number])).get(number)
    if line is None:
        raise NotFound(f"event {number} is not kept: it was never there, or retention has removed it")
    ids = {line.event_id} | ({line.causation_id} if line.causation_id else set())
    return await _shown(request, {line.correlation_id}, ids, number, chosen=line.event_id)


async def _of_command(request: Request) -> Response:
    """From a command: the conversation of its outcome."""
    database, id_ = console_of(request).database, uuid_of("command", request.path_params["id"])
    entry = await ledger.entry(database, id_)
    number = await ledger.outcome_event(database, entry)
    if number is None:
        number = await outbox.place_of(database, entry.applied_at)
    lines = await outbox.lines_of(database, [number])
    correlations = {line.correlation_id for line in lines.values() if line.causation_id == id_}
    return await _shown(request, correlations, {id_}, number, chosen=id_)


async def _shown(request: Request, correlations: set[str], ids: set[str], around: int, *, chosen: str) -> Response:
    is_wide = request.query_params.get("look") == "further"
    found = await causes_of(
        console_of(request).database, correlations=correlations, ids=ids, around=around, is_wide=is_wide
    )
    rows = [row for root in found.roots for row in _rows(root)]
    return page(
        request,
        "commands/causes.html",
        found=found,
        rows=rows,
        chosen=chosen,
        is_wide=is_wide,
        conversation=sorted(correlations),
    )


def _rows(root: Node) -> list[tuple[int, Node]]:
    """The nodes of a tree with their levels, top down; a tree may be as deep as it likes, and a node is shown once."""
    rows: list[tuple[int, Node]] = []
    waiting, seen = [(0, root)], set()
    while waiting:
        level, node = waiting.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        rows.append((min(level, MOST_LEVELS), node))
        waiting += [(level + 1, child) for child in reversed(node.children)]
    return rows


ROUTES = [Route("/events/{id}/causes", _of_event), Route("/commands/{id}/causes", _of_command)]
