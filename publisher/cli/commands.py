"""`imi-registry commands …`: send a command, and look after those that could not be carried out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from publisher.cli.arguments.options import Actor, AsJson, NatsUrl, UpFolder, Utc, Yes
from publisher.cli.arguments.times import printed
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.noted import noted
from publisher.cli.servers.session import acting_as, located, registry_client, run
from publisher.cli.terminal.text import emit_document, emit_json, letters, write
from registry.errors import Invalid, NotFound
from registry.urls import without_credentials

if TYPE_CHECKING:
    from publisher.applier.dead_letters import DeadLetter, DeadLetters
    from registry.commands import Outcome

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True)
dead_letters_app = typer.Typer(help="Messages that could not be carried out.", no_args_is_help=True)
app.add_typer(dead_letters_app, name="dead-letters")

Number = Annotated[
    int, typer.Argument(metavar="NUMBER", min=1, max=2**63 - 1, help="Its number, as `dead-letters list` shows it.")
]


@app.command("send")
def send(
    command: Annotated[str, typer.Argument(metavar="COMMAND", help="project.register, worktree.claim …")],
    data: Annotated[str, typer.Argument(metavar="JSON", help="What it is about, as a JSON object.")],
    command_id: Annotated[
        str | None, typer.Option("--id", help="UUID of the command; the same again is the same command.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency key: commands of a sender with one key are one command.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the outcome.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait.", min=0.1)] = 10.0,
    actor: Actor = None,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    as_json: AsJson = False,
) -> None:
    """Send a command and show its outcome; a rejection is an error.

    Example: imi-registry commands send project.deactivate '{"remote_origin": "git@github.com:33god/imi.git"}'
    """
    from uuid import UUID

    from registry import exact
    from registry.broker.answers import outcome_error
    from registry.client import Sending

    try:
        fields = exact.loads_given(data)
    except ValueError as error:
        raise Invalid(f"data {without_credentials(data)[:80]!r}: is not JSON: {error}") from None
    try:
        given_id = UUID(command_id) if command_id else None
    except ValueError:
        raise Invalid(f'--id "{command_id}": it must be a UUID') from None
    if not isinstance(fields, dict):
        raise Invalid(f"data {without_credentials(data)[:80]!r}: must be a JSON object")
    settings = located("nats_url", nats_url=nats_url)
    sending = Sending(command_id=given_id, idempotency_key=key, actor=acting_as(actor), timeout=timeout)

    async def work() -> Outcome | UUID:
        async with registry_client(settings, "commands send") as client:
            if wait:
                return await client.send(command, fields, sending)
            return await client.post(command, fields, sending)

    outcome = run(work())
    if isinstance(outcome, UUID):
        write(f'{{"command_id":"{outcome}"}}' if as_json else f"sent {outcome}")
        return
    if as_json:
        emit_json(outcome)
    if outcome.code is not None:
        raise outcome_error(outcome.code, outcome.message)
    if not as_json:
        ids = " ".join(f"{name} {value}" for name, value in (outcome.result or {}).items())
        write(f"{outcome.verdict}: {ids or command}")


@dead_letters_app.command("list")
def list_(nats_url: NatsUrl = None, _state_dir: UpFolder = None, _utc: Utc = False, as_json: AsJson = False) -> None:
    """List the dead letters, oldest first. With --json one a line.

    Example: imi-registry commands dead-letters list
    """

    async def work(dead_letters: DeadLetters) -> list[DeadLetter]:
        return [letter async for letter in dead_letters.all()]

    found = _with_dead_letters(work, nats_url)
    if as_json:
        for letter in found:
            emit_document(_json(letter))
        return

    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "no.": [str(letter.number) for letter in found],
            "when": [printed(letter.buried_at) for letter in found],
            "sent to": [letter.subject for letter in found],
            "reason": [letter.reason for letter in found],
        },
        empty="no dead letters",
        dispensable=("when", "sent to"),
    )


@dead_letters_app.command("show")
def show(
    number: Number, nats_url: NatsUrl = None, _state_dir: UpFolder = None, _utc: Utc = False, as_json: AsJson = False
) -> None:
    """Show one dead letter as it was sent.

    Example: imi-registry commands dead-letters show 1
    """
    letter = _with_dead_letters(lambda dead_letters: dead_letters.get(number), nats_url)
    if as_json:
        emit_document(_json(letter))
        return
    write(f"reason    {letter.reason}")
    write(f"sent to   {letter.subject}, stored at {letter.sequence} there")
    write(f"buried    {printed(letter.buried_at)}")
    write(f"attempts  {letter.attempts}")
    for name, value in letter.headers.items():
        write(f"header    {name}: {value}")
    write(f"payload   {letter.payload.decode(errors='backslashreplace')}")


@dead_letters_app.command("retry")
def retry(
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="NUMBER",
            min=1,
            max=2**63 - 1,
            help="Its number, as `dead-letters list` shows it.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are there now, oldest first.")] = False,
    actor: Actor = None,
    yes: Yes = False,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
) -> None:
    """Send a dead letter once more to where it was sent, and drop it. One that fails again gets a new number.

    Example: imi-registry commands dead-letters retry 1
    """
    if everything == (number is not None):
        raise Invalid("give either the number of a dead letter, or --all")
    who = acting_as(actor)
    if number is not None:
        letter = _with_dead_letters(lambda dead_letters: dead_letters.retry(number), nats_url)
        write(f"sent to {letter.subject} again")
        noted(nats_url, who, "dead letter: retry", f"commands {number}", "sent once more")
        return

    async def find(dead_letters: DeadLetters) -> list[int]:
        return [letter.number async for letter in dead_letters.all()]

    sent: list[int] = []

    async def work(dead_letters: DeadLetters) -> None:
        for each in numbers:
            try:
                letter = await dead_letters.retry(each)
            except NotFound:
                write(f"{each} is gone meanwhile")
                continue
            sent.append(each)
            write(f"{each} sent to {letter.subject} again")

    numbers = _with_dead_letters(find, nats_url)
    if not numbers:
        write("no dead letters")
        return
    confirm(f"Send {letters(len(numbers))} once more?", yes)
    try:
        _with_dead_letters(work, nats_url)
    finally:  # what was sent before NATS was lost, too
        if sent:
            noted(nats_url, who, "dead letters: retry all", "commands", f"{letters(len(sent))} sent once more")


@dead_letters_app.command("drop")
def drop(
    number: Number, actor: Actor = None, yes: Yes = False, nats_url: NatsUrl = None, _state_dir: UpFolder = None
) -> None:
    """Delete a dead letter for good.

    Example: imi-registry commands dead-letters drop 1 --yes
    """
    who = acting_as(actor)
    letter = _with_dead_letters(lambda dead_letters: dead_letters.get(number), nats_url)
    confirm(f"Delete dead letter {number} ({letter.reason})?", yes)
    _with_dead_letters(lambda dead_letters: dead_letters.drop(number), nats_url)
    write(f"dropped dead letter {number}")
    noted(nats_url, who, "dead letter: drop", f"commands {number}", "dropped")


def _with_dead_letters(work: Callable[[DeadLetters], Awaitable[T]], nats_url: str | None) -> T:
    async def session() -> T:
        async with _dead_letters(nats_url) as dead_letters:
            return await work(dead_letters)

    return run(session())


@asynccontextmanager
async def _dead_letters(nats_url: str | None) -> AsyncIterator[DeadLetters]:
    from publisher.applier.dead_letters import DeadLetters
    from publisher.settings import profile_of
    from registry.broker.connection import connect_nats

    settings = located("nats_url", nats_url=nats_url)
    async with connect_nats(settings.nats_url or "", "imi-registry dead-letters", settings.nats_access) as client:
        dead_letters = DeadLetters(client, profile_of(settings), settings)
        await dead_letters.find()
        yield dead_letters


def _json(letter: DeadLetter) -> str:
    import json

    fields: dict[str, Any] = letter._asdict() | {
        "payload": letter.payload.decode(errors="backslashreplace"),
        "buried_at": letter.buried_at.isoformat(),
    }
    return json.dumps(fields)
