"""Sending a command over NATS, and waiting for its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from registry import commands, exact, tracing
from registry.arguments import check_fields, checked_arguments
from registry.broker.errors import LARGER_THAN_STREAM_TAKES, is_full, translated_nats
from registry.commands import Outcome, command_type
from registry.errors import Busy, Invalid, OutcomeUnknown, RegistryError, Unavailable
from registry.subjects import CommandNames

UNANSWERED = (nats.errors.TimeoutError, nats.errors.ConnectionClosedError)
"""Errors after which a command may be stored or not; so is one that tells of a server which cannot serve now."""
DAY_SECONDS = 86_400
T = TypeVar("T")
LOOK_SECONDS = 0.25
"""How often a sender that waits looks whether its connection was lost, and with it perhaps the outcome."""


@dataclass(frozen=True)
class Sending:
    """What a command is sent with; None leaves an attribute out."""

    command_id: UUID | None = None
    """Id of the command; a new one by default. The same id again is the same command."""
    idempotency_key: str | None = None
    """Commands of a sender with the same key are one command, whatever their ids: give one to repeat a call safely."""
    actor: str | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str | None = None
    timeout: float = 10.0
    """Seconds to wait for the outcome; a day at most."""


PLAIN = Sending()


class CommandSender:
    """Sends commands of any kind over one connection."""

    def __init__(
        self,
        client: Client,
        names: CommandNames,
        source: str,
        complete: Callable[[str, dict[str, Any]], dict[str, Any]],
        sender: str | None = None,
    ) -> None:
        self._client = client
        self._command_names = names
        self._complete = complete
        self._source = source
        self._sender = sender
        self._jetstream = client.jetstream()
        self._inbox: str | None = None
        self._awaited: dict[str, asyncio.Future[bytes]] = {}

    @checked_arguments
    async def send(self, name: str, data: dict[str, Any], sending: Sending = PLAIN) -> Outcome:
        """Send the command `name` (`project.register` …) and return its outcome, a rejection too.

        Raises `Invalid` for data that is none of this command, `Unavailable` when it was not sent, of that `Busy` when
        too many commands wait, `OutcomeUnknown` when no outcome came in time.
        """
        return await self._in_span("client", name, sending, lambda sent: self._send_once(name, data, sent))

    async def _send_once(self, name: str, data: dict[str, Any], sending: Sending) -> Outcome:
        envelope = self._envelope(name, commands.validated(name, data), sending)
        await self._subscribe()
        inbox = f"{self._inbox}.{uuid4().hex}"
        payload = self._encoded(name, envelope | {"replyto": inbox})
        answer = self._awaited[inbox] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(sending.timeout):
                outcome = await self._outcome(name, payload, answer)
            return _outcome_in(outcome, f"{name} {envelope['id']}")
        except TimeoutError:
            raise OutcomeUnknown(
                f"{name} {envelope['id']}: no outcome within {sending.timeout:g} s; it may be carried out yet"
            ) from None
        finally:
            del self._awaited[inbox]

    @checked_arguments
    async def post(self, name: str, data: dict[str, Any], sending: Sending = PLAIN) -> UUID:
        """Send a command without waiting for its outcome; returns its id once the server has stored it.

        Raises `Invalid`, `Busy`, `Unavailable`, `OutcomeUnknown`.
        """
        return await self._in_span("producer", name, sending, lambda sent: self._post(name, data, sent))

    async def _in_span(
        self, kind: tracing.Kind, name: str, sending: Sending, send: Callable[[Sending], Awaitable[T]]
    ) -> T:
        """What `send` returns; in a process that traces, in a span below `sending.traceparent` or what is current."""
        if not tracing.is_on():
            return await send(sending)
        attributes: dict[str, str | int] = {"messaging.system": "nats", "messaging.operation.type": "send"}
        with tracing.current(f"send {name}", kind, sending.traceparent, attributes) as traceparent:
            return await send(replace(sending, traceparent=traceparent))

    async def _post(self, name: str, data: dict[str, Any], sending: Sending) -> UUID:
        envelope = self._envelope(name, commands.validated(name, data), sending)
        payload = self._encoded(name, envelope)
        try:
            async with asyncio.timeout(sending.timeout):
                is_sent = False
                while not await self._publish_unless_sent(name, payload, is_sent=is_sent):
                    is_sent = True
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise OutcomeUnknown(f"{name} {envelope['id']}: the server does not say that it is stored") from None
        return UUID(envelope["id"])

    def _envelope(self, name: str, data: dict[str, Any], sending: Sending) -> dict[str, Any]:
        check_fields(sending)
        if not 0 < sending.timeout <= DAY_SECONDS:
            raise Invalid(f"timeout: {sending.timeout}: it must be more than 0 and at most {DAY_SECONDS} seconds")
        attributes = {
            "specversion": "1.0",
            "id": str(sending.command_id or uuid4()),
            "source": self._source,
            "type": command_type(name),
            "time": datetime.now(UTC).isoformat(),
            "datacontenttype": "application/json",
            "correlationid": sending.correlation_id,
            "causationid": sending.causation_id,
            "actor": sending.actor,
            "traceparent": sending.traceparent,
            "idempotencykey": sending.idempotency_key,
        }
        given = {name: value for name, value in attributes.items() if value is not None}
        return self._complete(name, given | {"data": data})

    def _encoded(self, name: str, envelope: dict[str, Any]) -> bytes:
        """A command as it is sent. Raises `Invalid` for what is no text, and for one that the server does not take."""
        payload = exact.dumps(envelope, name)
        if len(payload) > self._client.max_payload:
            raise Invalid(f"{name}: it has {len(payload)} bytes, at most {self._client.max_payload} are allowed")
        return payload

    async def _subscribe(self) -> None:
        """Receive the answers to all commands, on one subscription for as long as the connection lasts."""
        if self._inbox is not None:
            return
        inbox = self._client.new_inbox()
        with translated_nats("cannot wait for an outcome"):
            await self._client.subscribe(f"{inbox}.*", cb=self._on_answer)
        self._inbox = inbox

    async def _on_answer(self, message: Msg) -> None:
        answer = self._awaited.get(message.subject)
        if answer is not None and not answer.done():
            answer.set_result(message.data)

    async def _outcome(self, name: str, payload: bytes, answer: asyncio.Future[bytes]) -> bytes:
        """Send, and wait for the answer; again, under the same id, when the connection was lost meanwhile."""
        is_sent = False
        while True:
            reconnects = self._client.stats["reconnects"]
            is_stored = await self._publish_unless_sent(name, payload, is_sent=is_sent)
            is_sent = True
            while is_stored and self._client.is_connected and self._client.stats["reconnects"] == reconnects:
                await asyncio.wait([answer], timeout=LOOK_SECONDS)
                if answer.done():
                    return answer.result()
            await asyncio.wait([answer], timeout=LOOK_SECONDS)
            if answer.done():  # to what was sent before
                return answer.result()

    async def _publish_unless_sent(self, name: str, payload: bytes, *, is_sent: bool) -> bool:
        """As `_publish`. A refusal is an error only while the command cannot be in the stream: not when it `is_sent`.

        What was sent before, and not acknowledged, may be stored; that it is refused now, since the stream is full, or
        NATS has just been restarted and nobody takes the subject yet, tells nothing about it.
        """
        try:
            return await self._publish(name, payload)
        except RegistryError:
            if is_sent:
                return False
            raise

    async def _publish(self, name: str, payload: bytes) -> bool:
        """Store a command in the stream; False when the server does not say that it did.

        Without Nats-Msg-Id: the server would drop a second copy that is sent because the outcome was lost.
        """
        subject = self._command_names.command_subject(name, self._sender)
        with translated_nats(f"cannot send {name}"):
            try:
                await self._jetstream.publish(subject, payload, timeout=2.0)
            except nats.js.errors.NoStreamResponseError as error:
                raise Unavailable(f"no stream takes {subject}: has the applier been started?") from error
            except UNANSWERED:
                return False
            except nats.js.errors.APIError as error:
                if is_full(error):
                    raise Busy(
                        f"{name}: busy, the stream of commands takes no more now ({error.description})"
                    ) from error
                if error.err_code == LARGER_THAN_STREAM_TAKES:
                    size = len(payload)
                    raise Invalid(f"{name}: it has {size} bytes, more than the stream of commands takes") from error
                if isinstance(error, nats.js.errors.ServiceUnavailableError):
                    return False
                raise
        return True


def _outcome_in(answer: bytes, command: str) -> Outcome:
    """What became of a command. Raises `OutcomeUnknown` for an answer that does not tell it."""
    try:
        return Outcome.model_validate_json(answer)
    except ValidationError as error:
        raise OutcomeUnknown(
            f"{command}: the answer is no outcome that this version knows; it may be carried out"
        ) from error
