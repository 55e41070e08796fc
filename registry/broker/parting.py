"""nats-py's client, as one that does not wait for a server which takes nothing any more.

nats-py ends a connection as asyncio does, once all is sent: where the other side neither reads nor goes, that is when
TCP gives up, or never. Until then it makes no other, and whoever leaves waits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport, WebSocketTransport

from registry.concurrency.tasks import end

LEAVING_SECONDS = 10.0
"""So long a server has, once a client leaves, to take what it is still to be sent."""


class PartingClient(Client):
    """One that lets go of a connection which is lost, with what was not sent on it."""

    async def _attempt_reconnect(self) -> None:
        """As nats-py's, which waits for the end of the connection. A `close` in the middle would take that end away."""
        self._abort()
        if isinstance(self._transport, TcpTransport):
            with suppress(Exception):  # whatever it ended of
                await asyncio.shield(self._transport.wait_closed())  # type: ignore[no-untyped-call]  # nats-py's
        await super()._attempt_reconnect()

    async def _connect_to_server(self, s: Srv) -> None:
        """As nats-py's, behind the end of a try that failed: it leaves a socket, tasks and a part of a message."""
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._abort()
        if isinstance(
            self._transport, WebSocketTransport
        ):  # by wss one that is there is taken for that of the next try
            self._transport.close()  # type: ignore[no-untyped-call]  # nats-py's
            with suppress(Exception):  # whatever it ended of
                await self._transport.wait_closed()  # type: ignore[no-untyped-call]  # nats-py's
        self._transport = None
        self._ps.reset()
        await super()._connect_to_server(s)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """As nats-py's, which raises over what it still has to send where the server is away, or waits for it."""
        if self.is_closed:
            await super()._close(status, do_cbs)
            return
        giving_up = asyncio.get_running_loop().call_later(LEAVING_SECONDS, self._abort)
        try:
            await self._end_restoring()
            if self.is_connected and self._pending:
                await self._send_last()
                await self._end_restoring()
            if not self.is_connected:
                self._pending, self._pending_data_size = [], 0
                if not self.is_connecting:  # there the server may have said why not
                    self._abort()
            await super()._close(status, do_cbs)
        except BaseException:
            self._abort()
            raise
        finally:
            giving_up.cancel()

    async def _send_last(self) -> None:
        """Send what is still to be sent. A server that goes meanwhile is left as any other."""
        flusher = self._flusher_task
        if flusher is not None and flusher is not asyncio.current_task():
            await end([flusher])  # by websockets it waits for the same as we, and whoever cancels it would cancel us
        last, self._pending, self._pending_data_size = self._pending, [], 0
        if self._transport is not None:
            with suppress(OSError):
                self._transport.writelines(last)
                await self._transport.drain()  # type: ignore[no-untyped-call]  # nats-py's

    async def _end_restoring(self) -> None:
        """End the making of another connection, and with it what was begun: of TLS that fails no end is ever heard."""
        restoring = self._reconnection_task
        if restoring is None or restoring is asyncio.current_task():
            return
        await end([restoring])  # it may swallow a cancellation, and go on with a connection that it has just made
        if not self.is_connected:
            self._abort()
            if isinstance(self._transport, TcpTransport):
                self._transport._io_writer = None

    def _abort(self) -> None:
        """End the connection as it is."""
        transport = self._transport
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:
            transport._io_writer.transport.abort()
        elif isinstance(transport, WebSocketTransport) and transport._ws is not None:
            carrier = transport._ws._conn and transport._ws._conn.transport
            if carrier is not None:
                carrier.abort()
