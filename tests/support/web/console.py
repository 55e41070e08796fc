"""A console as its visitors meet it: served over HTTP, beside the parts of a service, and asked by a plain client."""

from __future__ import annotations

import asyncio
import http.client
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlencode

from publisher.applier.metrics import ApplierMetrics
from publisher.doctor import Examination, Findings
from publisher.relay.metrics import RelayMetrics
from publisher.web import server, status
from publisher.web.console.application import Application
from publisher.web.console.console import Console
from publisher.web.guard import Guard, known_hosts
from registry.concurrency.tasks import end
from tests.support.world import World, running

TOKEN = "token-of-this-test"  # noqa: S105  # no secret


class Answer(NamedTuple):
    """What a visitor got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The page."""
        return self.body.decode()


class Visitor:
    """Somebody with a browser that follows nothing by itself; of scripts it runs what sends the session along."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.session = ""

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page."""
        return await asyncio.to_thread(self._ask, "GET", path, None, headers)

    async def piece(self, path: str) -> Answer:
        """Ask for a piece of a page, as a script does."""
        return await self.get(path, **{"HX-Request": "true"} | ({"Imi-Session": self.session} if self.session else {}))

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """Send a form, without what a page of the console puts into it."""
        given = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{self.port}"}
        return await asyncio.to_thread(self._ask, "POST", path, urlencode(fields), given | headers)

    async def sign_in(self, name: str = "ada", token: str = TOKEN) -> Answer:
        """Sign in by the form."""
        answer = await self.post("/sign-in", {"token": token, "name": name})
        self.session = next(iter(re.findall(r'data-session="([^"]+)"', answer.text)), self.session)
        return answer

    async def act(self, path: str, fields: dict[str, str]) -> Answer:
        """Send a form of somebody who has signed in."""
        return await self.post(path, fields | {"session": self.session})

    async def log(self) -> Answer:
        """Ask for the log of actions, which is for those who may act."""
        return await self.piece("/log")

    async def until_logged(self, told: str, seconds: float = 20) -> str:
        """The text of the log of actions once it tells something."""
        return await self._until(self.log, "the log", told, seconds)

    async def until(self, path: str, told: str, seconds: float = 20) -> str:
        """The text of a page once it tells something."""
        return await self._until(lambda: self.get(path), path, told, seconds)

    async def _until(self, ask: Callable[[], Awaitable[Answer]], what: str, told: str, seconds: float) -> str:
        text = ""
        try:
            async with asyncio.timeout(seconds):
                while told not in (text := (await ask()).text):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{what} does not tell {told!r}: {text}") from None
        return text

    @asynccontextmanager
    async def live(self, path: str) -> AsyncIterator[AsyncIterator[tuple[str, str]]]:
        """Server-sent events, each its name and its data."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())

        async def events() -> AsyncIterator[tuple[str, str]]:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert " 200 " in head.splitlines()[0], head
            name, data = "", ""
            while line := await reader.readline():
                text = line.decode().rstrip("\r\n")
                if text.startswith("event: "):
                    name = text[7:]
                elif text.startswith("data:"):
                    data += text[5:].removeprefix(" ") + "\n"
                elif not text and name:
                    yield name, data.removesuffix("\n")
                    name, data = "", ""

        try:
            yield events()
        finally:
            writer.close()

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            assert "set-cookie" not in found
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()


@asynccontextmanager
async def served(
    world: World, *, token: str | None = TOKEN, works: bool = True, proxies: str = ""
) -> AsyncIterator[tuple[Visitor, Console]]:
    """A console of `world`, with a relay and an applier beside it where it `works`; else with its servers alone."""
    settings = world.settings(http_token=token)
    async with AsyncExitStack() as stack:
        relay, applier = RelayMetrics(), None
        if works:
            relay = await stack.enter_async_context(world.relay())
            applier = await stack.enter_async_context(world.applier())
        findings = Findings(relay.registry)
        console = Console(settings, relay, applier or ApplierMetrics(relay.registry), findings, [findings])
        if works:
            after = asyncio.Event()
            after.set()
            await stack.enter_async_context(running(Examination(settings, findings, after=after)))
        listener = stack.enter_context(server.bind("127.0.0.1", 0))
        pages = Guard(Application(console), hosts=known_hosts("127.0.0.1", ""), style=status.STYLE)
        tasks = [
            asyncio.ensure_future(one) for one in [*console.work(), server.serve(pages, listener, proxies=proxies)]
        ]
        try:
            visitor = Visitor(listener.getsockname()[1])
            if works:
                await _reached(console)
            yield visitor, console
        finally:
            async with asyncio.timeout(20):
                await end(tasks)
        for task in tasks:
            assert task.cancelled() or task.exception() is None, task.exception()


async def _reached(console: Console) -> None:
    async with asyncio.timeout(20):
        while console.database.answer_seconds is None or console.broker.answer_seconds is None:
            await asyncio.sleep(0.01)
