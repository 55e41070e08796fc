"""What an error of NATS means: by its type or `err_code`, never by its text, one of `registry/errors.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import nats.errors
import nats.js.errors

from registry.broker.permitted import NotPermitted
from registry.errors import Conflict, Invalid, NotFound, RegistryError, Unavailable, Unprepared

WRONG_END = {10070, 10071, 10164}
"""`err_code`: the stream does not end where the publisher believes.

Wrong last message id, wrong last sequence, and the latter as a clustered stream tells it.
"""
DUPLICATE_IN_BATCH = 10201
"""`err_code`: a `Nats-Msg-Id` of the batch is in the stream's dedupe window."""
UNSUPPORTED_HEADER = 10177
"""`err_code`: the server takes no message with such a header in a batch, and has stored none of it."""
NOT_UNIQUE = {10099, 10100}
"""`err_code`: the work queue has a consumer already that takes these subjects."""
LARGER_THAN_STREAM_TAKES = 10054
"""`err_code`: the message is larger than the stream takes."""


@contextmanager
def translated_nats(doing: str) -> Iterator[None]:
    """Raise what nats-py raises in the block as the error of our tree that it means. `doing` opens its message."""
    try:
        yield
    except (nats.errors.Error, TimeoutError) as error:
        raise from_nats(error, doing) from error


def from_nats(error: Exception, doing: str) -> RegistryError:
    """Translate an error of nats-py by its type, never by message text. `doing` opens the message."""
    text = f"{doing}: {reason_of(error)}"
    match error:
        case NotPermitted():
            return Unprepared(text)
        case nats.js.errors.NotFoundError():
            return NotFound(text)
        case nats.js.errors.BadRequestError():
            return Conflict(text)
        case nats.errors.MaxPayloadError():
            return Invalid(text)
        case _:
            return Unavailable(text)


def no_stream(stream: str) -> NotFound:
    """The error of a reader whose stream is not there: it never was, or it was lost."""
    return NotFound(
        f"no stream {stream}: start imi-registry up or serve; if there was one, imi-registry doctor tells what to do"
    )


def reason_of(error: Exception) -> str:
    """An error of nats-py in words."""
    if isinstance(error, nats.js.errors.APIError) and error.description:
        return error.description
    if isinstance(error, nats.js.errors.NoStreamResponseError | nats.errors.NoRespondersError):
        return "JetStream does not answer (is it enabled, and does the cluster have a leader?)"
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
