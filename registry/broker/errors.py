"""What an error of NATS means: by its type or `err_code`, never by its text, one of `registry/errors.py`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import nats.errors
import nats.js.errors

from registry.broker.access import Access
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
TOO_MANY_CONSUMERS = 10026
"""`err_code`: the stream has as many consumers as it may have."""
NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
"""Reasons of OpenSSL: what the other side said is no TLS."""
LARGER_THAN_STREAM_TAKES = 10054
"""`err_code`: the message is larger than the stream takes."""
NO_ROOM = {10023, 10028, 10047}
"""`err_code`: what a stream would reserve is more than the server has, in memory or on disk."""
OVER_LIMIT = {10002, 10023, 10028, 10047, 10167}
"""`err_code`: a message is not stored, since the account or the server has no more room, or too much to do."""
STORE_FAILED = 10077
"""`err_code`: a message is not stored; which of two causes it has stands in the text alone."""
STREAM_IS_FULL = {"maximum messages exceeded", "maximum bytes exceeded", "maximum messages per subject exceeded"}
"""Texts with `STORE_FAILED` that tell of a limit of the stream: the server looked before it stored anything."""


NO_MESSAGE = 10037
"""`err_code`: the stream has no such message."""
NO_LEADER = 10008
"""`err_code`: the cluster has no leader, as when most of its servers are away; one says so after some ten seconds."""


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
        case nats.js.errors.BadRequestError() if error.err_code != TOO_MANY_CONSUMERS:
            return Conflict(text)
        case nats.errors.MaxPayloadError():
            return Invalid(text)
        case _:
            return Unavailable(text)


def is_leaderless(error: RegistryError) -> bool:
    """Whether an error, translated here, means that the cluster of nats-servers has no leader now."""
    cause = error.__cause__
    return isinstance(cause, nats.js.errors.APIError) and cause.err_code == NO_LEADER


def is_unheard(error: RegistryError) -> bool:
    """Whether an error, translated here, means that nobody listens on the subject, as where it is not imported."""
    cause = error.__cause__
    return isinstance(cause, nats.js.errors.ServiceUnavailableError) and cause.err_code is None


def is_no_message(error: RegistryError) -> bool:
    """Whether an error, translated here, means that a stream, which is there, has not the message asked for."""
    cause = error.__cause__
    return isinstance(cause, nats.js.errors.APIError) and cause.err_code == NO_MESSAGE


def is_full(error: nats.js.errors.APIError) -> bool:
    """Whether a message was not stored, by any server, since there was no room for it."""
    is_streams = error.err_code == STORE_FAILED and (error.description or "") in STREAM_IS_FULL
    return is_streams or error.err_code in OVER_LIMIT


def is_denied(error: Exception) -> bool:
    """Whether a server takes this client for nobody it knows. nats-py has no type of its own for that."""
    return "authorization violation" in str(error).lower()


def no_stream(stream: str) -> NotFound:
    """The error of a reader whose stream is not there: it never was, or it was lost."""
    return NotFound(
        f"no stream {stream}: start imi-registry up or serve; if there was one, imi-registry doctor tells what to do"
    )


def connect_reason(error: Exception, access: Access) -> str:
    """Why a connection was not made with `access`, in words: what TLS found wrong, too."""
    hint = f"; does it speak TLS before its first word?{access.see('tls_handshake_first')}"
    if isinstance(error, ssl.SSLError) and isinstance(
        error.__cause__, ssl.SSLError
    ):  # by websockets: aiohttp's around it
        error, hint = error.__cause__, "; is there TLS on this port?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted: {error.verify_message}; see setting {access.setting('tls_ca')}"
        )
    if isinstance(error, ssl.SSLError):
        text = str(error.reason or error).replace("_", " ").lower()
        return f"TLS: {text}{hint if error.reason in NOT_TLS else ''}"
    return reason_of(error)


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
