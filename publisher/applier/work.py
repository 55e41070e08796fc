"""A command on its way through the applier, and the message it came in."""

from __future__ import annotations

from typing import NamedTuple

from publisher.applier.command_stream import Received
from registry import tracing
from registry.commands.extent import most_values
from registry.commands.reading import Command


class Work(NamedTuple):
    """A command, and the message it came in."""

    command: Command
    received: Received
    span: tracing.Span | None = None
    """From its arrival to its outcome, in a process that traces."""

    @property
    def values(self) -> int:
        """So many its command has in memory, at most; one that could not be read has none."""
        return most_values(self.received.payload) if self.command.data else 0


def ids(command: Command) -> dict[str, str]:
    """What a line of the log names a command by."""
    return {"command_id": str(command.id), "correlation_id": str(command.correlation_id)}


def traced(work: Work) -> Work:
    """Work in a span below the command's, to which what it changes belongs."""
    command = work.command
    attributes: dict[str, str | int] = {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.destination.name": work.received.subject,
        "messaging.message.id": str(command.id),
    }
    span = tracing.begin(f"apply {command.name}", "consumer", command.traceparent, attributes)
    return Work(command._replace(traceparent=span.traceparent), work.received, span)
