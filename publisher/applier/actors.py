"""Who may act as whom: the sender of a command, whom NATS knows, and the actor it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from registry.commands.reading import Command
from registry.validation import printable

ANYBODY = "*"


class Actors:
    """The setting `actors`: sender to the actors it may name, the first one when a command names none.

    A sender that is not in it acts as itself. Without the setting nobody is verified: the subject's last token says who
    sends only where the server lets nobody else publish on it.
    """

    def __init__(self, setting: Mapping[str, Sequence[str]] | None) -> None:
        self._setting = setting

    def bind(self, command: Command) -> Command:
        """`command` as one of its sender: its actor is verified, or it is to be rejected, and takes no key."""
        sender = command.sender
        if self._setting is None or not sender:
            return command
        allowed = self._setting.get(sender, [sender])
        actor = command.actor
        if actor is None:
            named = [name for name in allowed if name != ANYBODY]
            actor = named[0] if named else sender
        elif actor not in allowed and ANYBODY not in allowed:
            problem = f"actor: {printable(actor)}: sender {sender} may act as {', '.join(allowed) or 'nobody'}"
            return command._replace(problem=command.problem or problem, actor=None, idempotency_key=None)
        return command._replace(actor=actor, actor_is_verified=True)
