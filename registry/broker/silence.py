"""What a server that says nothing waits for: TLS at once, or nothing at all, since it is stopped or overloaded."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from registry.broker.errors import NOT_TLS

PROBE_SECONDS = 2.0
PORT = 4222


def is_silence(error: Exception) -> bool:
    """Whether a connection was not made since no word came in time."""
    return isinstance(error, TimeoutError) and not (isinstance(error, OSError) and error.strerror)


async def waits_for_tls(server: str) -> bool:
    """Whether the server at this URL answers to who begins with TLS, as one with `handshake_first` does.

    Nothing is trusted and nothing sent: whether certificates are good is another question.
    """
    url = urlsplit(server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, TimeoutError):  # with SSLError, which is an OSError, told apart before
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(url.hostname, url.port or PORT, ssl=context)
        except ssl.SSLError as error:  # as when it asks for a certificate
            return error.reason not in NOT_TLS
        writer.transport.abort()
        return True
    return False
