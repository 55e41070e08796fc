"""A message on a command subject, read: a command to apply, one to reject, or none at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from registry import commands, exact
from registry.commands.envelope import MOST_INBOX_CHARACTERS, CommandEnvelope, command_type
from registry.commands.extent import check_extent
from registry.errors import Invalid
from registry.validation import INBOX, from_validation, printable

_REPLY_TO = re.compile(rb"""["']replyto["']\s*:\s*["'](_INBOX[A-Za-z0-9_.-]+)["']""")


class Command(NamedTuple):
    """A command as it was read: complete, or with the `problem` that it is to be rejected for."""

    id: UUID
    name: str
    data: dict[str, Any]
    digest: bytes
    """Of name and data: what two messages with the same id or key must have in common."""
    correlation_id: UUID
    actor: str | None
    traceparent: str | None
    idempotency_key: str | None
    reply_to: str | None
    problem: str | None
    actor_is_verified: bool = False
    source: str = ""
    """Who says that he sends it."""
    sender: str = ""
    """Whose subject it came on, where that is known: the idempotency key is his. All others are one."""


def read(payload: bytes, name: str, parse: Callable[[bytes, list[str]], Any] = exact.loads) -> Command:
    """The command in a message whose subject says that it is `name`; `parse` makes CloudEvents attributes of it.

    One that breaks a rule comes back with its `problem`; so does one that has a name twice, since its sender may have
    meant either. Raises `Invalid` when it cannot be told which command it is: no JSON object, or no UUID for an id, or
    a text that nobody should read.
    """
    check_extent(payload)
    twice: list[str] = []
    try:
        attributes = parse(payload, twice)
    except ValueError as error:
        raise Invalid(f"payload is not JSON: {error}") from None
    if not isinstance(attributes, dict):
        raise Invalid(f"payload is a JSON {type(attributes).__name__}, not an object")
    try:
        envelope = CommandEnvelope.model_validate(attributes)
    except ValidationError as error:
        return _unreadable(attributes, name, payload, str(from_validation(error, "command")))
    if twice:
        return _unreadable(attributes, name, payload, f"command: {exact.named_twice(twice)}")
    data, problem = _data(envelope, name)
    return Command(
        id=envelope.id,
        name=name,
        data=data,
        digest=_digest(attributes, payload),
        correlation_id=envelope.correlationid or envelope.id,
        actor=envelope.actor,
        traceparent=_traceparent(envelope),
        idempotency_key=envelope.idempotencykey,
        reply_to=envelope.replyto,
        problem=problem,
        source=envelope.source,
    )


def reply_address(payload: bytes) -> str | None:
    """The inbox that a message names which is no command: `replyto` of an object, else the one that stands in the text.

    A sender must hear of a command that is cut off, has NaN in it, is in a list, or was made JSON twice, too.
    """
    try:
        check_extent(payload)
        attributes = exact.loads(payload)
    except (ValueError, Invalid):
        attributes = None
    if isinstance(attributes, dict):
        found = [attributes.get("replyto")]
    else:
        text = attributes.encode() if isinstance(attributes, str) else payload
        found = [match.decode() for match in set(_REPLY_TO.findall(text))]
    inboxes = [inbox for inbox in found if isinstance(inbox, str) and _is_inbox(inbox)]
    return inboxes[0] if len(inboxes) == 1 else None


def _is_inbox(subject: str) -> bool:
    return len(subject) <= MOST_INBOX_CHARACTERS and re.fullmatch(INBOX, subject) is not None


def _data(envelope: CommandEnvelope, name: str) -> tuple[dict[str, Any], str | None]:
    if envelope.type != command_type(name):
        return {}, f'type: "{envelope.type}" does not agree with the subject; expected {command_type(name)}'
    try:
        return commands.validated(name, envelope.data), None
    except Invalid as error:
        return {}, str(error)


def _traceparent(envelope: CommandEnvelope) -> str | None:
    """The trace context, where it can be one: an invalid one is ignored, as W3C asks."""
    text = envelope.traceparent or ""
    return text if text.isascii() and text.isprintable() else None


def _unreadable(attributes: dict[str, Any], name: str, payload: bytes, problem: str) -> Command:
    """A command to be rejected for its envelope: nothing of that is used but the id, and the inbox if it is one."""
    try:
        command_id = UUID(attributes["id"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Invalid(f"id: {printable(attributes.get('id'))}: it must be a UUID") from None
    reply_to = attributes.get("replyto")
    if not (isinstance(reply_to, str) and _is_inbox(reply_to)):
        reply_to = None
    digest = _digest(attributes, payload)
    return Command(command_id, name, {}, digest, command_id, None, None, None, reply_to, problem)


def _digest(attributes: dict[str, Any], payload: bytes) -> bytes:
    """Of type and data, in one form; of the payload where they have none, since they are nested too deep."""
    try:
        text = exact.dumps([attributes.get("type"), attributes.get("data")], sort_keys=True)
    except Invalid:
        text = payload
    return hashlib.sha256(text).digest()
