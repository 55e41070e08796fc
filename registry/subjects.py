"""Names on the wire: how a registry event is called and on which subject and stream it travels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

NO_PROJECT = "-"
DEFAULT_SOURCE = "urn:imi:registry"
"""CloudEvents `source` of the events of a registry that has no other."""
_COMMAND = re.compile(r"([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)(?:\.([A-Za-z0-9_-]+))?")


@dataclass(frozen=True)
class CommandNames:
    """What commands, replies and dead letters are called in one profile; a command's name is `<entity>.<verb>`."""

    stream: str
    """Work-queue stream that holds the commands until they are carried out."""
    filter: str
    """Subjects the applier takes from the stream."""
    command_root: str
    reply_root: str
    dead_letter_stream: str
    dead_letter_root: str

    def taken_from(self, bound: Sequence[str]) -> list[str]:  # noqa: ARG002  # another stream's subjects follow from it
        """Subjects the applier takes from a stream to which `bound` are bound."""
        return [self.filter]

    def command_subject(self, name: str, sender: str | None = None) -> str:
        """Subject a command is published to, by anybody or by `sender` alone."""
        return f"{self.command_root}.{name}" if sender is None else f"{self.command_root}.{name}.{sender}"

    def name_of(self, subject: str) -> str | None:
        """The command a subject stands for; None when it is none of this version."""
        found = self._parts(subject)
        return found and found[1]

    def sender_of(self, subject: str) -> str | None:
        """The sender whose subject this is: the server lets nobody else publish on it, where it is configured so."""
        found = self._parts(subject)
        return found and found[2]

    def _parts(self, subject: str) -> re.Match[str] | None:
        name = subject.removeprefix(f"{self.command_root}.")
        return _COMMAND.fullmatch(name) if name != subject else None

    def reply_subject(self, name: str, command_id: UUID) -> str:
        """Subject the outcome of a command is published to."""
        return f"{self.reply_root}.{name}.{command_id}"

    def dead_letter_subject(self, name: str | None) -> str:
        """Subject a dead letter is stored under."""
        return f"{self.dead_letter_root}.{name or 'malformed'}"


@dataclass(frozen=True)
class LetterNames:
    """What the dead letters of subscriptions are called; those of each durable name have a stream of their own.

    And beside them what people did, with dead letters and with anything else.
    """

    stream_root: str
    subject_root: str
    record_stream: str
    """Stream that records what was done with dead letters."""
    record_root: str
    action_stream: str
    """Stream that holds the log of actions."""
    action_root: str
    event_stream: str
    """Stream that holds the events, with as many replicas as all of these get."""

    @property
    def all_subjects(self) -> str:
        """Wildcard of the subjects of all these streams but the record."""
        return f"{self.subject_root}.>"

    def stream(self, durable: str) -> str:
        """Stream that holds the dead letters of a durable name."""
        return f"{self.stream_root}_{durable}"

    def durable_of(self, stream: str) -> str:
        """The durable name whose dead letters are in `stream`."""
        return stream.removeprefix(f"{self.stream_root}_")

    def stream_subjects(self, durable: str) -> str:
        """Wildcard of what its stream holds."""
        return f"{self.subject_root}.{durable}.>"

    def letter_subject(self, durable: str, event_id: str) -> str:
        """Subject of the dead letter of one event: there is one at most."""
        return f"{self.subject_root}.{durable}.letter.{event_id}"

    def failing_subject(self, durable: str, event_id: str) -> str:
        """Subject under which it is kept how often a handler failed on an event that is no dead letter yet."""
        return f"{self.subject_root}.{durable}.failing.{event_id}"

    def redelivery_subject(self, durable: str, event_id: str) -> str:
        """Subject on which it is asked that a dead letter is handled once more."""
        return f"{self.subject_root}.{durable}.redeliver.{event_id}"

    def record_subject(self, durable: str, action: str) -> str:
        """Subject under which it is recorded that somebody did something with a dead letter."""
        return f"{self.record_root}.{durable}.{action}"

    def action_subject(self, means: str) -> str:
        """Subject under which an action is logged that somebody took by `means`: `console` or `cli`."""
        return f"{self.action_root}.{means}"


@dataclass(frozen=True)
class Names:
    """The `imi` naming profile. `prefix` is the first token of each subject, upper case of each stream."""

    prefix: str = "imi"

    @property
    def event_stream(self) -> str:
        """Stream that holds all events."""
        return f"{self.prefix.upper()}_EVENTS"

    @property
    def commands(self) -> CommandNames:
        """Names of commands and of what answers them."""
        return CommandNames(
            stream=f"{self.prefix.upper()}_COMMANDS",
            filter=f"{self.prefix}.cmd.>",
            command_root=f"{self.prefix}.cmd.v1",
            reply_root=f"{self.prefix}.rpy.v1",
            dead_letter_stream=f"{self.prefix.upper()}_DEAD_LETTERS",
            dead_letter_root=f"{self.prefix}.dlq.v1",
        )

    @property
    def letters(self) -> LetterNames:
        """Names of the dead letters of subscriptions."""
        return LetterNames(
            stream_root=f"{self.prefix.upper()}_DEAD_LETTERS",
            subject_root=f"{self.prefix}.sub.v1",
            record_stream=f"{self.prefix.upper()}_DEAD_LETTER_RECORD",
            record_root=f"{self.prefix}.dlr.v1",
            action_stream=f"{self.prefix.upper()}_ACTIONS",
            action_root=f"{self.prefix}.act.v1",
            event_stream=self.event_stream,
        )

    @property
    def event_subjects(self) -> str:
        """Wildcard of all event subjects."""
        return f"{self.prefix}.evt.v1.>"

    def event_subject(self, entity: str, action: str, project_id: str | None) -> str:
        """Subject of one event: always six tokens, `-` where there is no project."""
        return f"{self.prefix}.evt.v1.{entity}.{action}.{project_id or NO_PROJECT}"

    def event_filter(
        self, entity: str | None = None, action: str | None = None, project_id: UUID | str | None = None
    ) -> str:
        """Subscription subject for the events of one entity, action or project; None means any."""
        return f"{self.prefix}.evt.v1.{entity or '*'}.{action or '*'}.{project_id or '*'}"

    @property
    def query_service(self) -> str:
        """Name of the NATS micro service that answers queries."""
        return f"{self.prefix}-registry"

    @property
    def requests(self) -> str:
        """What the subjects of the publisher's services begin with."""
        return f"{self.prefix}.qry.v1"

    def query_subject(self, query: str) -> str:
        """Subject a query is sent to."""
        return f"{self.requests}.{query}"

    def event_type(self, entity: str, action: str, version: int = 1) -> str:
        """CloudEvents `type`, which carries the major version."""
        return f"imi.{entity}.{action}.v{version}"

    def data_schema(self, entity: str, action: str, version: int = 1) -> str:
        """CloudEvents `dataschema`: the `$id` of one file under `schemas/`."""
        return f"urn:imi:registry:event:{entity}.{action}:v{version}"
