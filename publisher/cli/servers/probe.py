"""`imi-registry probe`: does the service on this machine live, and does it do its work; for supervisors."""

from __future__ import annotations

from http.client import HTTPException
from typing import Annotated

import orjson
import typer

from publisher.cli.arguments.options import HttpPort
from publisher.cli.servers.session import settings_of
from publisher.cli.terminal.text import say, write
from publisher.text import visible
from publisher.web.probe import OK, Answer, ask, place_of
from registry.authority import written
from registry.errors import Invalid, Unavailable

NO = 1


def probe(
    http_port: HttpPort = None,
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it does its work (/readyz), not only whether it lives.")
    ] = False,
) -> None:
    """Ask the service on this machine whether it lives, or with --ready, whether it does its work.

    For supervisors and scripts: exit code 0 yes, 1 no, 3 nobody answers. IMI_HTTP_HOST and IMI_HTTP_PORT are those of
    the service.

    Example: imi-registry probe --ready --http-port 9464
    """
    settings = settings_of(http_port=http_port)
    if not settings.http_port:
        raise Invalid("setting http_port: missing; set IMI_HTTP_PORT or give --http-port")
    address = place_of(settings.http_host, settings.http_port)
    place = written(*address)
    try:
        answer = ask(address, "/readyz" if ready else "/healthz")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(f"no service answers on {place}: {reason}") from None
    if ready:
        _say_readiness(answer, place)
    elif answer.status != OK:
        raise Unavailable(f"what answers on {place} is no imi-registry: status {answer.status}")
    else:
        write("alive")


def _say_readiness(answer: Answer, place: str) -> None:
    """Say the problems or the role that `/readyz` told, and end the program when it is red."""
    role, problems = readiness(answer.body, place)
    for problem in problems:
        say(visible(problem))
    if answer.status != OK:
        raise typer.Exit(NO)
    write(visible(f"ready, {role}"))


def readiness(body: str, place: str) -> tuple[str, list[str]]:
    """The role and the problems that `/readyz` tells. Raises `Unavailable` for what is no answer of ours."""
    try:
        told = orjson.loads(body)
        return str(told["role"]), [str(problem) for problem in told["problems"]]
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"what answers on {place} is no imi-registry") from None
