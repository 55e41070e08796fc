"""What one sender may have waiting in the stream of commands, and whether that leaves room for others.

A server limits the messages of a subject, and no bytes of it. So only the numbers together keep one sender from filling
the stream: of each kind so many, each so large. The one place where that is reckoned; docs/nats.md says it to people.
"""

from __future__ import annotations

from typing import NamedTuple

KINDS = 13
"""Kinds of commands: of each sender each is a subject. As many as in the catalogue, which need not be loaded for it."""


class StreamLimits(NamedTuple):
    """The limits of a stream of commands; None is no limit."""

    messages: int | None
    bytes: int | None
    of_a_subject: int | None
    """Messages of one kind and sender."""
    of_a_command: int
    """Bytes."""

    @property
    def messages_of_a_sender(self) -> int | None:
        """So many one sender may have waiting."""
        return None if self.of_a_subject is None else KINDS * self.of_a_subject

    @property
    def bytes_of_a_sender(self) -> int | None:
        """So many these may be; what the server stores beside each is not among them."""
        messages = self.messages_of_a_sender
        return None if messages is None else messages * self.of_a_command

    @property
    def leave_messages(self) -> bool:
        """Whether one sender, whatever it sends, leaves some messages to others."""
        own = self.messages_of_a_sender
        return self.messages is None or (own is not None and own < self.messages)

    @property
    def leave_bytes(self) -> bool:
        """Whether it leaves half of the bytes to others; a stream without a limit may take all that its account has."""
        own = self.bytes_of_a_sender
        return own is not None and self.bytes is not None and 2 * own <= self.bytes
