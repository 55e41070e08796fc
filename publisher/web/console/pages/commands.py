"""Commands: the latest with their outcomes, one of them with what it did, and a form to send one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4, uuid5

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.web.console.console import console_of
from publisher.web.console.form_fields import data_of, fields_of
from publisher.web.console.forms import acting
from publisher.web.console.numbers import number_of
from publisher.web.console.render import page
from publisher.web.console.sources import ledger, outbox
from publisher.web.console.sources.wanted import uuid_of
from registry.client.sender import Sending
from registry.commands import COMMANDS, Outcome
from registry.errors import Invalid, RegistryError
from registry.validation import check_text

VERDICTS = ("applied", "idempotent", "rejected")
OUTCOME_SECONDS = 10.0
MOST_CHARACTERS = 200
ASKED = "cmd."
"""What the names of a command's own fields begin with, beside those of the form."""
FORM = "form"
"""A UUID, which a form has of its own until there is an outcome: a browser may send it twice, and so may who clicks."""


async def _list(request: Request) -> Response:
    console, given = console_of(request), request.query_params
    wanted = {name: given.get(name, "").strip() for name in ("verdict", "name", "text")}
    for name, text in wanted.items():
        check_text(text, name)
        if len(text) > MOST_CHARACTERS:
            raise Invalid(f"{name}: it has {len(text)} characters, at most {MOST_CHARACTERS} are allowed")
    before = number_of(given["before"], "before") if given.get("before") else None
    ends = await outbox.ends_of(console.database, console.profile.event_stream)
    found = await ledger.outcomes(
        console.database,
        ends,
        before,
        verdict=wanted["verdict"] or None,
        name=wanted["name"] or None,
        text=wanted["text"] or None,
    )
    return page(
        request,
        "commands/commands.html",
        found=found,
        given=wanted,
        verdicts=VERDICTS,
        names=sorted(COMMANDS),
        ends=ends,
    )


async def _one(request: Request) -> Response:
    database, id_ = console_of(request).database, uuid_of("command", request.path_params["id"])
    entry = await ledger.entry(database, id_)
    event = await ledger.outcome_event(database, entry)
    return page(request, "commands/command.html", entry=entry, event=event)


async def _form(request: Request) -> Response:
    name = request.query_params.get("name", "project.register")
    return _shown(request, name, {})


async def _send(request: Request) -> Response:
    session, given = await acting(request)
    console = console_of(request)
    name = given.get("name", "")
    own = {key.removeprefix(ASKED): text for key, text in given.items() if key.startswith(ASKED)}
    try:
        data = data_of(name, own)
        key, correlation = given.get("key", "").strip() or None, given.get("correlation", "").strip()
        sending = Sending(
            command_id=_id_of(given),
            idempotency_key=key,
            actor=session.name,
            correlation_id=UUID(uuid_of("correlation", correlation)) if correlation else None,
            timeout=OUTCOME_SECONDS,
        )
        outcome = await console.broker.sender.send(name, data, sending)
    except RegistryError as error:
        console.log.note(session.name, "command sent", name, str(error), is_well=False)
        return _shown(request, name, given, problem=str(error), status=400 if isinstance(error, Invalid) else 503)
    is_well = outcome.verdict != "rejected"
    console.log.note(session.name, "command sent", f"{name} {outcome.command_id}", outcome.verdict, is_well=is_well)
    return _shown(request, name, {} if is_well else given | {FORM: ""}, outcome=outcome)


def _id_of(given: Mapping[str, str]) -> UUID | None:
    """The same form once more is the same command, changed another one. Raises `Invalid`."""
    if not given.get(FORM):
        return None
    return uuid5(UUID(uuid_of(FORM, given[FORM])), json.dumps(given, sort_keys=True))


def _shown(
    request: Request,
    name: str,
    given: dict[str, str],
    *,
    problem: str = "",
    outcome: Outcome | None = None,
    status: int = 200,
) -> Response:
    values: dict[str, Any] = {"problem": problem, "outcome": outcome, "given": given, "prefix": ASKED}
    values["form"] = given.get(FORM) or str(uuid4())
    return page(
        request, "commands/send.html", status, name=name, names=sorted(COMMANDS), fields=fields_of(name), **values
    )


ROUTES = [
    Route("/commands", _list),
    Route("/commands/send", _form, methods=["GET"]),
    Route("/commands/send", _send, methods=["POST"]),
    Route("/commands/{id}", _one),
]
