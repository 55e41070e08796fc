"""`imi-registry events dead-letters …`: events that subscriptions could not handle, and what is done with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from publisher.cli.arguments.letters import (
    Action,
    AnyDurable,
    Durable,
    Entity,
    Everything,
    Number,
    NumberOrAll,
    Project,
    Reason,
)
from publisher.cli.arguments.options import Actor, AsJson, NatsUrl, UpFolder, Utc, Yes
from publisher.cli.arguments.times import printed
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.noted import noted
from publisher.cli.servers.session import acting_as, located, registry_client, run
from publisher.cli.terminal.text import emit_json, letters, write
from registry.errors import Invalid, NotFound

if TYPE_CHECKING:
    from registry.client import RegistryClient
    from registry.dead_letters import DeadLetter, DeadLetterDesk

T = TypeVar("T")
Act = Callable[[int], Awaitable["DeadLetter"]]
Wanted = tuple[str | None, str | None, str | None, str | None]  # entity, action, project, reason
app = typer.Typer(help="Events that subscriptions could not handle.", no_args_is_help=True)


@app.command("list")
def list_(
    durable: AnyDurable = None,
    entity: Entity = None,
    action: Action = None,
    project: Project = None,
    reason: Reason = None,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """List the dead letters of subscriptions, oldest first. With --json one a line.

    Example: imi-registry events dead-letters list dashboard --entity worktree
    """
    from publisher.cli.terminal import tables

    _check(durable, entity, action)

    async def work(client: RegistryClient) -> list[DeadLetter]:
        return await _matching(client, durable, (entity, action, project, reason))

    found = _with_client(work, nats_url)
    if as_json:
        for letter in found:
            emit_json(letter.document())
        return
    tables.print_table(
        {
            "subscription": [letter.durable for letter in found],
            "no.": [str(letter.number) for letter in found],
            "event": [letter.event_name for letter in found],
            "sequence": [str(letter.sequence) for letter in found],
            "attempts": [str(letter.failure.attempts) for letter in found],
            "failed": [printed(letter.failure.failed_at) for letter in found],
            "redelivery": [f"asked by {letter.redelivery.actor}" if letter.redelivery else "" for letter in found],
            "reason": [letter.failure.reason for letter in found],
        },
        empty="no dead letters",
        dispensable=("failed", "sequence", "attempts", "redelivery"),
    )


@app.command("show")
def show(
    durable: Durable,
    number: Number,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: the error, how often and when, and the event as it was published.

    Example: imi-registry events dead-letters show dashboard 1
    """
    _check(durable)
    letter = _with_client(lambda client: client.dead_letters.get(durable, number), nats_url)
    if as_json:
        emit_json(letter.document())
        return
    failure = letter.failure
    write(f"reason    {failure.reason}")
    write(f"attempts  {failure.attempts}, from {printed(failure.first_failed_at)} to {printed(failure.failed_at)}")
    write(f"event     {letter.event_name}, id {letter.event_id}")
    write(f"sequence  {letter.sequence} of the event stream, subject {letter.subject}")
    if letter.redelivery is not None:
        write(f"again     asked for by {letter.redelivery.actor} at {printed(letter.redelivery.asked_at)}")
    for name, value in letter.headers.items():
        write(f"header    {name}: {value}")
    write(f"payload   {letter.payload.decode(errors='backslashreplace')}")


@app.command("redeliver")
def redeliver(
    durable: Durable,
    number: NumberOrAll = None,
    everything: Everything = False,
    entity: Entity = None,
    action: Action = None,
    project: Project = None,
    reason: Reason = None,
    actor: Actor = None,
    yes: Yes = False,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
) -> None:
    """Let the subscription handle a dead letter once more, as soon as it runs.

    The letter stays until that is done; one that fails again gets a new number.

    Example: imi-registry events dead-letters redeliver dashboard --all --reason timeout
    """
    who = acting_as(actor)
    wanted = (entity, action, project, reason)

    def act(desk: DeadLetterDesk) -> Act:
        return lambda each: desk.redeliver(durable, each, actor=who)

    _each(act, durable, number, everything, wanted, nats_url, yes, who, "Redeliver", "will be handled once more")


@app.command("drop")
def drop(
    durable: Durable,
    number: NumberOrAll = None,
    everything: Everything = False,
    entity: Entity = None,
    action: Action = None,
    project: Project = None,
    reason: Reason = None,
    actor: Actor = None,
    yes: Yes = False,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
) -> None:
    """Delete dead letters for good.

    Example: imi-registry events dead-letters drop dashboard 1 --yes
    """
    who = acting_as(actor)
    wanted = (entity, action, project, reason)

    def act(desk: DeadLetterDesk) -> Act:
        return lambda each: desk.drop(durable, each, actor=who)

    _each(act, durable, number, everything, wanted, nats_url, yes, who, "Delete", "is deleted")


@app.command("prepare")
def prepare(durable: Durable, nats_url: NatsUrl = None, _state_dir: UpFolder = None) -> None:
    """Make the stream of a subscription's dead letters: its user of NATS may not.

    Example: imi-registry events dead-letters prepare dashboard
    """
    _check(durable)
    _with_client(lambda client: client.dead_letters.prepare(durable), nats_url)
    write(f"dead letters of {durable} can be kept")


@app.command("record")
def record(
    durable: AnyDurable = None,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Tell who did what with dead letters, and when.

    Example: imi-registry events dead-letters record
    """
    from publisher.cli.terminal import tables

    _check(durable)

    async def work(client: RegistryClient) -> list[Any]:
        return [one async for one in client.dead_letters.records(durable)]

    found = _with_client(work, nats_url)
    if as_json:
        for one in found:
            emit_json(one._asdict())
        return
    tables.print_table(
        {
            "when": [printed(one.at) for one in found],
            "who": [one.actor for one in found],
            "what": [one.action for one in found],
            "subscription": [one.durable for one in found],
            "no.": [str(one.number) for one in found],
            "event": [one.event for one in found],
            "reason": [one.reason for one in found],
        },
        empty="nothing was done with dead letters",
        dispensable=("reason", "event"),
    )


def _each(
    act: Callable[[DeadLetterDesk], Act],
    durable: str,
    number: int | None,
    everything: bool,
    wanted: Wanted,
    nats_url: str | None,
    yes: bool,
    who: str,
    verb: str,
    done: str,
) -> None:
    """Do the same with one dead letter, or with all that match."""
    if everything == (number is not None):
        raise Invalid("give either the number of a dead letter, or --all")
    if number is not None and any(wanted):
        raise Invalid("--entity, --action, --project and --reason go with --all")
    _check(durable, *wanted[:2])

    async def find(client: RegistryClient) -> list[DeadLetter]:
        if number is not None:
            return [await client.dead_letters.get(durable, number)]
        return await _matching(client, durable, wanted)

    async def work(client: RegistryClient) -> None:
        for letter in found:
            try:
                await act(client.dead_letters)(letter.number)
            except NotFound:
                if number is not None:
                    raise
                write(f"{letter.number} is gone meanwhile")
                continue
            write(f"{letter.number}, {letter.event_name} at sequence {letter.sequence}, {done}")
            numbers.append(letter.number)

    numbers: list[int] = []
    found = _with_client(find, nats_url)
    if not found:
        write("no dead letters")
        return
    if everything:
        confirm(f"{verb} {letters(len(found))} of {durable}?", yes)
    elif verb == "Delete":
        confirm(f"Delete dead letter {number} of {durable} ({found[0].failure.reason})?", yes)
    try:
        _with_client(work, nats_url)
    finally:  # what was done before NATS was lost, too
        if numbers:
            about = f"{durable} {number}" if number is not None else durable
            noted(nats_url, who, f"dead letters: {verb.lower()}", about, f"{len(numbers)} of {len(found)}: {done}")


def _check(durable: str | None, entity: str | None = None, action: str | None = None) -> None:
    """Raise `Invalid` for what can be refused before any server is asked."""
    from registry.broker.durable import checked_durable
    from registry.events.actions import check_filter

    if durable is not None:
        checked_durable(durable)
    check_filter(entity, action, None)


async def _matching(client: RegistryClient, durable: str | None, wanted: Wanted) -> list[DeadLetter]:
    entity, action, project, reason = wanted
    fields: dict[str, Any] = {"entity": entity, "action": action}
    if project is not None:
        from publisher.cli.arguments import references_over_nats

        fields["project_id"] = await references_over_nats.project_id(client, project)
    given = {name: value for name, value in fields.items() if value is not None}
    return [letter async for letter in client.dead_letters.find(durable, reason=reason, **given)]


def _with_client(work: Callable[[RegistryClient], Awaitable[T]], nats_url: str | None) -> T:
    settings = located("nats_url", nats_url=nats_url)

    async def session() -> T:
        async with registry_client(settings, "events dead-letters") as client:
            return await work(client)

    return run(session())
