"""Who is known to have sent a command: each user of deploy/nats tries, as itself, as nobody and as others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest

from registry.broker.connection import connect_nats, flushed
from registry.client import Access
from tests.support.commands import envelope
from tests.support.nats.deployed import DEPLOY, TEAMS, Deployed, deployed_server
from tests.support.world import World

ACTORS = {"flume": ["flume", "ada"]}
REJECTED = ("rejected", None, None)


class Attempt(NamedTuple):
    """A command: who publishes it, with which sender in its subject, and the actor that it names."""

    user: str
    sender: str | None
    actor: str | None


KNOWN = {
    Attempt("command", "command", None): ("applied", "command", True),
    Attempt("command", "command", "command"): ("applied", "command", True),
    Attempt("command", "command", "ada"): REJECTED,
    Attempt("command", "command", "operator"): REJECTED,
    Attempt("command", "command", "system"): REJECTED,
    Attempt("flume", "flume", None): ("applied", "flume", True),
    Attempt("flume", "flume", "flume"): ("applied", "flume", True),
    Attempt("flume", "flume", "ada"): ("applied", "ada", True),
    Attempt("flume", "flume", "operator"): REJECTED,
    Attempt("flume", "flume", "system"): REJECTED,
    # In the account of the registry, where it may publish anything: it is believed what it says of itself.
    Attempt("operator", "operator", None): ("applied", "operator", True),
    Attempt("operator", "operator", "operator"): ("applied", "operator", True),
    Attempt("operator", "operator", "system"): REJECTED,
    Attempt("operator", "operator", "ada"): REJECTED,
    Attempt("operator", "flume", "ada"): ("applied", "ada", True),
    Attempt("operator", "flume", "system"): REJECTED,
    Attempt("operator", "command", None): ("applied", "command", True),
    Attempt("operator", None, None): ("applied", None, None),
    Attempt("operator", None, "operator"): ("applied", "operator", None),
    Attempt("operator", None, "system"): ("applied", "system", None),
}
"""All that arrives: what becomes of it, and what its events say, the actor and whether it is verified."""


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server(has_teams=True) as server:
        yield server


def users() -> list[str]:
    """All that the configuration has, and those of the teams' accounts."""
    named = re.findall(r"^\s*(?:users: \[\{ )?user: (\w+),", (DEPLOY / "nats.conf").read_text(), re.MULTILINE)
    assert {"publisher", "applier", "operator", "command", "query", "durable", "live", "system"} == {*named}
    return [*named, *TEAMS]


def attempts(user: str) -> list[Attempt]:
    """As itself, as nobody, and as each other one that sends, naming whom it likes."""
    senders = dict.fromkeys((user, None, "flume", "command"))
    actors = dict.fromkeys((None, user, "ada", "operator", "system"))
    tried = [Attempt(user, sender, actor) for sender in senders for actor in actors]
    return [one for one in tried if user != "operator" or one in KNOWN]


async def test_the_events_of_a_command_say_who_sent_it_and_whether_that_is_known(
    there: World, deployed: Deployed
) -> None:
    sent: dict[UUID, Attempt] = {}
    async with (
        there.relay(**deployed.settings("publisher")),
        there.applier(actors=ACTORS, **deployed.settings("applier")),
    ):
        for user in users():
            async with connect_nats(deployed.url, "test", Access(**deployed.access(user))) as client:
                for attempt in attempts(user):
                    number = uuid4()
                    sent[number] = attempt
                    data = {"name": "p", "remote_origin": f"git@github.com:o/p{len(sent)}.git"}
                    given = {} if attempt.actor is None else {"actor": attempt.actor}
                    subject = there.names.commands.command_subject("project.register", attempt.sender)
                    await client.publish(subject, envelope("project.register", data, id=str(number), **given))
                await flushed(client)
        await there.commands_done()
        await there.drained()

    events = [event.envelope for event in await there.published()]
    found = {}
    for number, attempt in sent.items():
        caused = [event for event in events if event["correlationid"] == str(number)]
        if caused:
            (verdict,) = {event["data"]["verdict"] for event in caused if "verdict" in event["data"]}
            ((actor, verified),) = {(event.get("actor"), event.get("actorverified")) for event in caused}
            found[attempt] = (verdict, actor, verified)
    assert found == KNOWN
