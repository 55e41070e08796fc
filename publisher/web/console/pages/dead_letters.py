"""Dead letters: searched, looked at, sent again or dropped, one by one or all that match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from publisher.web.console.console import console_of
from publisher.web.console.errors import Forbidden
from publisher.web.console.forms import acting
from publisher.web.console.numbers import number_of
from publisher.web.console.render import HEADERS, page
from publisher.web.console.sources import letters
from registry.errors import Invalid, RegistryError
from registry.validation import check_text, printable

MOST_CHARACTERS = 200
DONE = {"retry": "sent once more", "drop": "dropped"}
ASKED = {"retry": "Send once more", "drop": "Drop for good"}


async def _list(request: Request) -> Response:
    console = console_of(request)
    where, text = request.query_params.get("of", letters.COMMANDS), _text(request.query_params.get("q", ""))
    after = _after(request.query_params)
    found = await letters.page_of(console, where, text, after)
    return page(
        request,
        "dead_letters/dead_letters.html",
        found=found,
        others=await letters.durables(console),
        where=where,
        text=text,
        after=after,
        query=urlencode({"of": where, "q": text}),
        asked=ASKED,
    )


async def _one(request: Request) -> Response:
    where, number = _named(request)
    return page(
        request, "dead_letters/dead_letter.html", letter=await letters.letter_of(console_of(request), where, number)
    )


async def _payload(request: Request) -> Response:
    """The bytes of the payload, as a file."""
    where, number = _named(request)
    letter = await letters.letter_of(console_of(request), where, number)
    headers = HEADERS | {"content-disposition": f'attachment; filename="dead-letter-{number}"'}
    return Response(letter.payload, media_type="application/octet-stream", headers=headers)


async def _ask_one(request: Request) -> Response:
    where, number = _named(request)
    letter = await letters.letter_of(console_of(request), where, number)
    deed = _deed(request)
    question = f"{ASKED[deed]}: dead letter {number} of {_whose(where)}?"
    return _ask(request, question, about=letter.reason, action=request.url.path, verb=ASKED[deed])


async def _ask_all(request: Request) -> Response:
    deed, where = _deed(request), request.query_params.get("of", letters.COMMANDS)
    text, after = _text(request.query_params.get("q", "")), _after(request.query_params)
    found = await letters.page_of(console_of(request), where, text, after)
    more, behind = "" if found.is_whole else " at least", f" behind number {after}" if after else ""
    having = f' with "{text}"' if text else ""
    question = f"{ASKED[deed]}: all{more} {found.matching} dead letters of {_whose(where)}{behind}{having}?"
    meant = urlencode({"of": where, "q": text, "after": after, "last": found.last})
    about = f"Up to {letters.MOST_AT_ONCE} at once; those that come from now on are not meant."
    return _ask(request, question, about=about, action=f"{request.url.path}?{meant}", verb=ASKED[deed])


def _ask(request: Request, question: str, **values: Any) -> Response:
    """A question. All that is meant is in the URL of its form: who has to sign in first is asked the same again."""
    return page(request, "dead_letters/confirm.html", question=question, **values)


async def _do_one(request: Request) -> Response:
    session, _ = await acting(request)
    console, (where, number), deed = console_of(request), _named(request), _deed(request)
    about = f"{_whose(where)} {number}"
    try:
        await letters.DEEDS[deed](console, where, number, session.name)
    except RegistryError as error:
        console.log.note(session.name, f"dead letter: {deed}", about, str(error), is_well=False)
        raise
    console.log.note(session.name, f"dead letter: {deed}", about, DONE[deed])
    return _back(where, "", console.tell(f"Dead letter {number} {DONE[deed]}."))


async def _do_all(request: Request) -> Response:
    session, _ = await acting(request)
    console, deed, meant = console_of(request), _deed(request), request.query_params
    where, text = meant.get("of", letters.COMMANDS), _text(meant.get("q", ""))
    among = range(_after(meant) + 1, number_of(meant.get("last", ""), "last") + 1)
    what, about = f"dead letters: {deed} all", f'{_whose(where)} with "{text}"' if text else _whose(where)
    done: list[int] = []
    try:
        is_whole = await letters.all_matching(console, where, text, among, deed, session.name, done)
    except RegistryError as error:  # what was done before NATS was lost, too
        said = f"{len(done)} dead letters {DONE[deed]}, then: {error}"
        console.log.note(session.name, what, about, said, is_well=False)
        raise type(error)(said) from error
    said = f"{len(done)} dead letters {DONE[deed]}" + ("" if is_whole else "; there are more")
    console.log.note(session.name, what, about, said)
    return _back(where, "" if is_whole else text, console.tell(f"{said}."))


def _back(where: str, text: str, told: str) -> Response:
    query = urlencode({name: value for name, value in {"of": where, "q": text, "told": told}.items() if value})
    return RedirectResponse(f"/dead-letters?{query}", status_code=303, headers=HEADERS)


def _whose(where: str) -> str:
    return "commands" if where == letters.COMMANDS else f"subscription {where}"


def _named(request: Request) -> tuple[str, int]:
    return request.path_params["where"], number_of(request.path_params["number"], "dead letter")


def _after(given: Mapping[str, str]) -> int:
    """Behind which number letters are meant. Raises `Invalid`."""
    return number_of(given.get("after") or "0", "after")


def _deed(request: Request) -> str:
    deed: str = request.path_params["deed"]
    if deed not in DONE:
        raise Invalid(f"{printable(deed)} is nothing that can be done with a dead letter")
    if console_of(request).sessions.can_act:
        return deed
    raise Forbidden("this console only shows: start the service with IMI_HTTP_TOKEN to act in it")


def _text(text: str) -> str:
    check_text(text, "q")
    if len(text) > MOST_CHARACTERS:
        raise Invalid(f"q: it has {len(text)} characters, at most {MOST_CHARACTERS} are allowed")
    return text.strip()


ROUTES = [
    Route("/dead-letters", _list),
    Route(f"/dead-letters/{letters.ALL}/{{deed}}", _ask_all, methods=["GET"]),
    Route(f"/dead-letters/{letters.ALL}/{{deed}}", _do_all, methods=["POST"]),
    Route("/dead-letters/{where}/{number}", _one),
    Route("/dead-letters/{where}/{number}/payload", _payload),
    Route("/dead-letters/{where}/{number}/{deed}", _ask_one, methods=["GET"]),
    Route("/dead-letters/{where}/{number}/{deed}", _do_one, methods=["POST"]),
]
