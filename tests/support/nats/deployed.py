"""The nats-server that deploy/nats describes, running; and what the settings of each of its users are."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nats.aio.client import Client

from registry.client import Access, RegistryClient
from registry.concurrency.tasks import end
from registry.dead_letters import DeadLetter, DeadLetterDesk
from registry.profiles.profile import profile_named
from registry.subjects import DEFAULT_SOURCE
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.jwt import private
from tests.support.nats.process import NatsProcess
from tests.support.services import scratch_directory
from tests.support.world import World

DEPLOY = Path(__file__).parents[3] / "deploy" / "nats"
TEAMS = ("flume", "panel")
"""Users of accounts of other teams, one in each."""
SENDERS = ("flume", "command")
"""Users who send commands, each on subjects of its own."""
READERS = (*TEAMS, "durable", "live")
"""Users who read the streams of another account."""
APART = ("indexer", "board")
"""Users of accounts that read a mirror of their own; each account has an operator, too."""
OPERATORS = ("operator", *(f"{user}_operator" for user in APART))
INBOXES = dict.fromkeys(OPERATORS, "_INBOX") | {team: f"_INBOX.team.{team}" for team in TEAMS}


class Deployed(NamedTuple):
    """A running server with the configuration of this project."""

    url: str
    folder: Path
    authority: CertificateAuthority

    def access(self, user: str) -> dict[str, Any]:
        """What a user's settings say, each without `nats_`."""
        return {
            "user": user,
            "password_file": private(self.folder / f"{user}.password", f"word-of-{user}\n"),
            "tls_ca": self.authority.certificate,
            "inbox_prefix": INBOXES.get(user, f"_INBOX.{user}"),
        } | ({"js_domain": "IMI"} if user in READERS else {})

    def settings(self, user: str) -> dict[str, Any]:
        """The same as settings."""
        return {f"nats_{name}": value for name, value in self.access(user).items()}

    def client(self, user: str) -> Any:
        """A client of the registry as this user."""
        sender = user if user in SENDERS else None
        return RegistryClient.connect(self.url, access=Access(**self.access(user)), sender=sender)


@contextmanager
def deployed_server(
    *, has_teams: bool = False, is_apart: bool = False, is_small: bool = False, binary: Path | None = None
) -> Iterator[Deployed]:
    """It, with a certificate and passwords of its own, for the block; with the accounts of other teams, too.

    `is_apart` brings those that read a mirror of their own. `is_small` makes each gigabyte of a limit so little that a
    test can fill it. `binary` is another nats-server than the usual one.
    """
    with scratch_directory() as folder:
        authority = CertificateAuthority(folder / "ca")
        certificate, key = authority.sign("server")
        configuration = (DEPLOY / "nats.conf").read_text()
        shutil.copy(DEPLOY / "exports.conf", folder)
        for name, is_included in (("teams.conf", has_teams), ("apart.conf", is_apart)):
            if is_included:
                example = (DEPLOY / f"{name}.example").read_text()
                named = re.sub(r'user: (\w+), password: "…"', r'user: \1, password: "word-of-\1"', example)
                private(folder / name, named)
                configuration = configuration.replace(f"# include ./{name}", f"include ./{name}")
        (folder / "nats.conf").write_text(configuration)
        given = {
            "NATS_LISTEN": "127.0.0.1:-1",
            "NATS_STORE_DIR": folder / "nats",
            "NATS_TLS_CERT": certificate,
            "NATS_TLS_KEY": key,
        }
        example = (DEPLOY / "local.conf.example").read_text()

        def filled(match: re.Match[str]) -> str:
            name = match[1]
            word = f"word-of-{name.removesuffix('_PASSWORD').lower()}"
            return f'{name} = "{given.get(name, word if name.endswith("_PASSWORD") else match[2])}"'

        private(folder / "local.conf", re.sub(r'^(\w+) = "(.*)"$', filled, example, flags=re.MULTILINE))
        if is_small:
            for file in folder.glob("*.conf"):
                file.write_text(re.sub(r"\b(\d+)GB\b", lambda size: f"{16 * int(size[1])}MB", file.read_text()))
        server = NatsProcess(folder / "nats.conf", folder, binary)
        server.start()
        try:
            yield Deployed(server.url(scheme="tls"), folder, authority)
        finally:
            server.stop()


@asynccontextmanager
async def service(there: World, deployed: Deployed, **limits: int) -> AsyncIterator[None]:
    """Publisher and applier there, each as its user; they must not have been hindered in anything.

    `limits` are those of the stream of commands.
    """
    publisher, applier = deployed.settings("publisher"), deployed.settings("applier")
    async with (
        there.relay(**publisher) as relay,
        there.history(**publisher),
        there.queries(**publisher),
        there.applier(**applier, **limits) as commands,
    ):
        yield
        assert relay.problems() == commands.problems() == []
        assert relay.interrupted == commands.interrupted == 0


async def first_buried(client: RegistryClient, operator: Client, durable: str = "component") -> DeadLetter:
    """The dead letter that a subscription makes, and handles when an operator asks for it; then it is buried again."""

    async def never(_: object) -> None:
        raise ValueError("never")

    desk = DeadLetterDesk(operator, profile_named("imi", prefix="imi", source=DEFAULT_SOURCE))
    await desk.prepare(durable)
    running = asyncio.create_task(client.subscribe(never, durable=durable, from_start=True, max_attempts=1))
    try:
        async with asyncio.timeout(30):
            while (await desk.counts()).get(durable, 0) < 1:
                await asyncio.sleep(0.02)
            letter, *_ = [letter async for letter in desk.find(durable)]
            await desk.redeliver(durable, letter.number, actor="ada")
            while letter.failure.attempts < 2 or letter.redelivery:
                letter, *_ = [one async for one in desk.find(durable) if one.event_id == letter.event_id]
    finally:
        await end([running])
    for other in [one async for one in desk.find(durable) if one.event_id != letter.event_id]:
        await desk.drop(durable, other.number, actor="ada")
    return letter
