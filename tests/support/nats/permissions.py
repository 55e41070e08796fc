"""What the page of deploy/nats says that each user may do, and what a server lets it do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import NamedTuple

import nats as nats_py
from nats.aio.client import Client
from nats.aio.msg import Msg

from registry.broker.connection import flushed
from registry.client import Access
from tests.support.nats.deployed import APART, DEPLOY, TEAMS, Deployed

USERS = ("publisher", "applier", "command", "query", "durable", "live", "system")
"""Those of the registry's own page, but for the operator."""
LAST_SENT = {"flume": "imi.qry.v1.stats", "panel": "imi.qry.v1.history", "indexer": "$JS.FC.IMI_EVENTS.x"}
LAST_SENT |= {"board": "imi.qry.v1.history"}
LAST_HEARD = {"flume": "_INBOX.team.flume.x", "panel": "imi.evt.v1.project.updated.-"}
LAST_HEARD |= {user: f"imi.mir.v1.{user}.x" for user in APART}
"""Subjects on which something of an account outside arrives in the registry's, and the other way round."""
LAST = b"the last one"
PATIENCE_SECONDS = 60


class Line(NamedTuple):
    """A line of a table in the pages of deploy/nats."""

    action: str
    subject: str
    allowed: tuple[str, ...]


def lines_of_users() -> list[Line]:
    """What the users of the registry may publish and subscribe."""
    return _lines_of(("publish", "subscribe"), USERS)


def lines_of_teams() -> list[Line]:
    """What arrives in the registry's account of what teams send, and what of it they hear."""
    return _lines_of(("sends", "hears"), TEAMS)


def lines_of_apart() -> list[Line]:
    """What the users who read a mirror of their own may publish and subscribe."""
    lines = _lines_of(("may publish", "may subscribe"), APART)
    return [line._replace(action=line.action.removeprefix("may ")) for line in lines]


def in_registry(subject: str) -> str:
    """What a subject of a team's account is called in the registry's."""
    return subject.replace("$JS.IMI.API", "$JS.API")


async def refusals(deployed: Deployed, user: str, table: list[Line]) -> set[tuple[str, str]]:
    """What the server refuses of a table, by action and subject in lower case, asked with nothing but nats-py."""
    said: list[str] = []

    async def hear(error: Exception) -> None:
        said.append(str(error))

    access = Access(**deployed.access(user))
    client: Client = await nats_py.connect(
        deployed.url, user=user, password=access.password_now(), tls=access.ssl_context(), error_cb=hear
    )
    for action, subject, _ in table:
        if action == "publish":
            await client.publish(subject, b"")
        else:
            await client.subscribe(subject)
    for _ in range(3):
        await client.flush()
    await client.close()
    found = set()
    for text in said:
        match = re.search(r'violation for (publish|subscription) to "(.*?)"', text)
        assert match is not None, text
        found.add(("publish" if match[1] == "publish" else "subscribe", match[2]))
    return found


async def heard_by(listener: Client, last: str, speaker: Client, subjects: Iterable[str]) -> set[str]:
    """On which subjects `listener`, who hears everything in its account, hears what `speaker` says on these."""
    heard: set[str] = set()
    is_over = asyncio.Event()

    async def hear(message: Msg) -> None:
        if message.data == LAST:
            is_over.set()
        elif message.data == b"x":
            heard.add(message.subject)

    subscription = await listener.subscribe(">", cb=hear)
    await flushed(listener)
    for subject in subjects:
        await speaker.publish(subject, b"x")
    await speaker.publish(last, LAST)
    await flushed(speaker)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await is_over.wait()
    await subscription.unsubscribe()
    return heard


def _lines_of(actions: tuple[str, str], names: tuple[str, ...]) -> list[Line]:
    """The lines of the tables whose first column has `actions`, and whose last ones are of `names`."""
    page = "".join(path.read_text() for path in sorted(DEPLOY.glob("*.md")))
    found = []
    for action, subject, rest in re.findall(rf"^\| ({'|'.join(actions)}) \| `(.+?)` \|(.*)\|$", page, re.MULTILINE):
        marks = [cell.strip() for cell in rest.split("|")]
        assert len(marks) == len(names), rest
        assert set(marks) <= {"yes", ""}, rest
        found.append(Line(action, subject, tuple(name for name, mark in zip(names, marks, strict=True) if mark)))
    return found
