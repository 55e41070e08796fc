"""The query service: answers the queries of `registry/queries.py` from the database, as a NATS micro service."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from time import monotonic

import nats.micro
import orjson
from nats.aio.client import Client
from nats.micro.request import Request as MicroRequest
from nats.micro.request import ServiceError
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import JsonSchemaMode

from publisher.health import Health
from publisher.part import Part
from publisher.query_service.answers import ANSWERS
from publisher.query_service.reader import Reader, encoded, is_shortened
from publisher.query_service.side_by_side import side_by_side
from publisher.settings import Settings
from registry import exact
from registry import queries as asked
from registry.broker.answers import TOO_LARGE, header_code, header_text
from registry.broker.askers import asker_of
from registry.broker.connection import connect_nats, flushed, heard
from registry.broker.errors import translated_nats
from registry.concurrency.tasks import in_time
from registry.concurrency.turns import Turns
from registry.database import Registry
from registry.database.blockers import Session
from registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable, Unprepared
from registry.queries import QUERIES, Request
from registry.subjects import Names
from registry.validation import check_text, from_validation

CONNECTIONS = 4
POOL_SECONDS = 1.0
ANSWER_SECONDS = 3.0
TURN_SECONDS = 1.5
"""What a query may wait before it is refused as too many: with its answer less than a client waits."""
DATABASE = "the database"
HEAVY = {
    *("projects", "search_projects", "search_registry", "inflight_work", "stats", "event_by_id"),
    *("registry_health", "slow_queries"),
}
"""Queries that read many rows or large ones."""
HEAVY_AT_ONCE = 2
"""So that the other connections are left to the others."""
MOST_REQUEST_BYTES = 128 * 1024
OUTAGE_SECONDS = 1.0
"""How long queries are refused at once after one that found the database unavailable: those that queue up behind it
would each wait as long, and be answered when their client has gone."""

WELL_SECONDS = 0.5
"""What the database may take to say that it is well, after a query that took too long."""
MOST_BYTES_A_CHARACTER = 4
"""Of a piece of JSON text within JSON: a character beyond ASCII has up to 4, a quotation mark 2."""
ANSWER_BYTES = 1024
"""What an answer has beside such a piece, and headers."""


HOLDERS: ContextVar[list[Session]] = ContextVar("HOLDERS")
"""Whose locks keep the query that is answered waiting: who asked is told. In a log the examination tells it."""


class QueryService(Part):
    """Answers the queries of one registry. Any number of services share the work."""

    def __init__(self, settings: Settings, health: Health) -> None:
        super().__init__(settings, health, "queries")

    async def work(self) -> None:
        """Answer until cancelled. Settled once all queries are answered."""
        async with (
            _registry(self._database_url, CONNECTIONS) as registry,
            _registry(self._database_url, 1) as large,
            connect_nats(self._nats_url, self._name, self._nats_access, answers=True) as client,
            side_by_side(client) as answering,
        ):
            with translated_nats("cannot offer queries"):
                await self._offer(answering, Desk(registry, large, client))
                await flushed(client)
            await self.answer(partial(heard, client))

    async def _offer(self, client: Client, desk: Desk) -> None:
        names = Names(self._settings.prefix)
        service = await nats.micro.add_service(
            client,
            name=names.query_service,
            version=semantic(importlib.metadata.version("imi-registry")),
            description="Queries of the iMi project registry",
        )
        for name, (request, response) in QUERIES.items():
            await service.add_endpoint(
                name=name,
                subject=names.query_subject(name),
                handler=partial(desk.handle, name),
                metadata={"request_schema": _schema(request), "response_schema": _schema(response, "serialization")},
            )


@asynccontextmanager
async def _registry(database_url: str, connections: int) -> AsyncIterator[Registry]:
    """The registry. Raises `Unavailable`, also for a schema that is not there: it was when the service began."""
    async with AsyncExitStack() as stack:
        connecting = Registry.connect(
            database_url,
            max_connections=connections,
            timeout=POOL_SECONDS,
            passes_on=True,
            on_blocked=lambda session: HOLDERS.get([]).append(session),
        )
        try:
            registry = await stack.enter_async_context(connecting)
        except Conflict as error:
            raise Unprepared(str(error)) from error
        yield registry


class Desk:
    """Takes requests, and hands out answers that the server takes; large rows come out of the registry `large`."""

    def __init__(self, registry: Registry, large: Registry, client: Client) -> None:
        self._registry = registry
        self._large = large
        self._client = client
        self._turn = asyncio.Lock()
        self._heavy, self._light = Turns(HEAVY_AT_ONCE), Turns(CONNECTIONS - HEAVY_AT_ONCE)
        self._outage = ""
        self._outage_ends_at = 0.0

    @property
    def _max_bytes(self) -> int:
        """What the server takes now: a reload may have changed it, which a connection knows once it is made again."""
        return self._client.max_payload

    async def handle(self, query: str, message: MicroRequest) -> None:
        """Answer one request. Raises `ServiceError` with the refusal, which the micro service counts and sends.

        Who asks takes turns with everybody else who does, whatever they ask; who gets none in time is told so.
        """
        turns = self._heavy if query in HEAVY else self._light
        try:
            request = parse(query, message.data)
            message._msg.data = b""  # which is larger than what was read of it, and may wait for its turn
            async with turns.turn(asker_of(message._msg), TURN_SECONDS):
                await self._respond(query, request, message)
        except RegistryError as error:
            raise ServiceError(header_code(error), f"query {query}: {header_text(error)}") from error

    async def _respond(self, query: str, request: Request, message: MicroRequest) -> None:
        room = max(self._max_bytes - ANSWER_BYTES, 0)
        async with Reader(self._registry, self._large, room, self._turn) as reader:
            answer = await self._answer(query, request, reader)
            payload = b"" if is_shortened(answer) else encoded(answer)
            del answer
            if not payload or len(payload) > self._max_bytes:
                raise ServiceError(TOO_LARGE, f"query {query}: {self._too_large(query)}")
            await message.respond(payload)
            if reader.has_turn:
                del payload
                with suppress(RegistryError):  # whoever asked is told nothing more then, and the next is answered
                    await flushed(self._client)

    def _too_large(self, query: str) -> str:
        what = "read the event about it in pieces, event_by_id" if "by_" in query else "ask with a lower limit"
        return f"the answer has more than {self._max_bytes} bytes, which is all that is allowed; {what}"

    async def _answer(self, query: str, request: Request, reader: Reader) -> BaseModel:
        if monotonic() < self._outage_ends_at:
            raise Unavailable(self._outage)
        holders: list[Session] = []
        HOLDERS.set(holders)
        try:
            return await in_time(self._found(query, request, reader), ANSWER_SECONDS, DATABASE)
        except Unprepared:  # of what this query reads; others may read
            raise
        except Unavailable as error:
            if not await self._is_database_well():
                self._outage = str(error)
                self._outage_ends_at = monotonic() + OUTAGE_SECONDS
            elif holders:
                raise Unavailable(
                    f"{error}: {holders[0]} holds or asks for a lock that it needs; end that session"
                ) from error
            raise

    async def _found(self, query: str, request: Request, reader: Reader) -> BaseModel:
        if isinstance(request, asked.EventById):
            return await self._piece(request)
        return await ANSWERS[query](reader, request)

    async def _is_database_well(self) -> bool:
        """Whether it was the query's own fault that it was not answered: then no other one is to suffer from it."""
        try:
            await in_time(self._registry.ping(), WELL_SECONDS, DATABASE)
        except RegistryError:
            return False
        return True

    async def _piece(self, request: asked.EventById) -> BaseModel:
        limit = max((self._max_bytes - ANSWER_BYTES) // MOST_BYTES_A_CHARACTER, 1)
        text = await self._registry.get_event_data(request.event_id, int(request.sequence), request.offset, limit + 1)
        if text is None:
            raise NotFound(f"event_id {request.event_id} is no event that is kept at sequence {request.sequence}")
        is_last = len(text) <= limit
        return asked.EventPiece(text=text[:limit], next=None if is_last else request.offset + limit)


def parse(query: str, data: bytes) -> Request:
    """The request in `data`. Raises `Invalid` naming the field, its value and the rule."""
    if len(data) > MOST_REQUEST_BYTES:
        raise Invalid(f"request has {len(data)} bytes, at most {MOST_REQUEST_BYTES} are allowed")
    try:
        fields = exact.loads_given(data or b"{}")
    except ValueError as error:
        raise Invalid(f"request: invalid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Invalid("request: input should be an object")
    try:
        request = QUERIES[query].request.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error, "request") from None
    for field, value in request:
        if isinstance(value, str):
            check_text(value, f"request: {field}")
    return request


def semantic(version: str) -> str:
    """A version of Python's kind, of three numbers, as SemVer has it, which alone NATS takes: 1.0.0rc1 is 1.0.0-rc1."""
    return re.sub(r"^(\d+\.\d+\.\d+)\.?([a-z][^+]*)", r"\1-\2", version)


def _schema(model: type[BaseModel], mode: JsonSchemaMode = "validation") -> str:
    return orjson.dumps(model.model_json_schema(mode=mode)).decode()
