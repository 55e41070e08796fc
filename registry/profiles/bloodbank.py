"""The `bloodbank` naming profile: our events as messages of the pipeline's existing shared event stream.

The stream, its subjects and its contract belong to others. The contract has names for some of what can happen here
(`words.py`); what it has none for is published when a setting says that what is proposed is agreed. docs/bloodbank.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import orjson

from registry.commands import Outcome
from registry.commands.reading import Command
from registry.errors import Invalid
from registry.events.message import HEADER_BYTES, Message, OutboxRow, identity
from registry.events.reference import reference, too_large
from registry.profiles.grammar import GRAMMARS, PLAIN, Grammar, spoken_in
from registry.profiles.paths import without_paths
from registry.profiles.pipeline import (
    PRODUCER,
    SERVICE,
    SOURCE_ROOT,
    PipelineCommandNames,
    actor_of,
    read_command,
    written_command,
    written_reply,
)
from registry.profiles.words import (
    COMMANDS,
    EVENTS,
    HEARTBEAT,
    LISTED_ENTITIES,
    command_word,
    event_action,
    is_listed_command,
    is_listed_event,
)
from registry.subjects import CommandNames, Names

STREAM = "BLOODBANK_EVENTS"
COMMAND_STREAM = "BLOODBANK_COMMANDS"
SOURCE = f"{SOURCE_ROOT}{PRODUCER}"
"""CloudEvents `source` of a registry that has no other."""
SOURCE_HEADER = "Imi-Source"
"""Tells our messages from those of another registry in the same stream."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

GrammarName = Literal["auto", "plain", "v1"]


class Shared(NamedTuple):
    """The settings of this profile alone."""

    grammar: GrammarName = "auto"
    """How names are made; `auto` takes it from what is bound to the streams."""
    proposed: bool = False
    """Whether names that are proposed to the contract, and not in it, are used."""
    paths: bool = True
    """Whether absolute paths stay in the data of events."""


SHARED = Shared()


class BloodbankProfile:
    """The shared stream; `prefix` names what is the registry's own beside it: its services and dead letters.

    Raises `Invalid` for `event_versions`, of which this profile has none but the first.
    """

    is_shared = True
    commands: CommandNames
    event_stream = STREAM

    def __init__(
        self, prefix: str, source: str, event_versions: Mapping[str, int] | None = None, shared: Shared = SHARED
    ) -> None:
        if event_versions:
            raise Invalid("setting event_versions: profile bloodbank has version 1 of each event only")
        self.source = source
        self.requests = Names(prefix).requests
        self.letters = replace(Names(prefix).letters, event_stream=STREAM)
        self._prefix = prefix
        self._shared = shared
        grammar = GRAMMARS.get(shared.grammar, PLAIN)
        self._take(grammar, grammar)

    def _take(self, events: Grammar, commands: Grammar) -> None:
        self._grammar, self._command_grammar = events, commands
        self.event_subjects = f"{events.root('evt')}.>"
        self.commands = PipelineCommandNames(
            stream=COMMAND_STREAM,
            filter=f"{commands.root('cmd')}.>",
            command_root=commands.root("cmd"),
            reply_root=commands.root("rpy"),
            dead_letter_stream=Names(self._prefix).commands.dead_letter_stream,
            dead_letter_root=Names(self._prefix).commands.dead_letter_root,
        )

    @property
    def has_all_events(self) -> bool:
        """Whether whatever changes the tables is in the stream."""
        return self._shared.proposed

    def on_streams(self, events: Sequence[str] | None, commands: Sequence[str] | None) -> BloodbankProfile:
        """This profile in the grammar of what is bound to the streams; None leaves the grammar of one as it is.

        Raises `Conflict` naming the stream, and what it does not take.
        """
        found = BloodbankProfile(self._prefix, self.source, None, self._shared)
        among = [GRAMMARS[self._shared.grammar]] if self._shared.grammar in GRAMMARS else list(GRAMMARS.values())
        found._take(
            self._grammar if events is None else spoken_in(STREAM, events, self._event_subjects, among),
            self._command_grammar
            if commands is None
            else spoken_in(COMMAND_STREAM, commands, self._command_subjects, among),
        )
        return found

    def publishes(self, entity: str, action: str) -> bool:
        """Whether such an event goes into the stream."""
        if self._shared.proposed:
            return f"{entity}.{action}" != HEARTBEAT
        return is_listed_event(entity)

    def check_wanted(self, entity: str | None, action: str | None) -> None:
        """Raise `Invalid` for events that are not in the stream."""
        entities = {name.partition(".")[0] for name in EVENTS if action is None or name.endswith(f".{action}")}
        if not any(self.publishes(one, action or "") for one in entities if entity in (None, one)):
            wanted = ".".join(filter(None, [entity, action]))
            raise Invalid(
                f"events {wanted}: stream {STREAM} has none of these, its contract has no name for them; it has "
                f"those of {', '.join(sorted(LISTED_ENTITIES))}, and all but heartbeats with IMI_BLOODBANK_PROPOSED "
                "(proposed=True)"
            )

    def encode(self, row: OutboxRow, max_bytes: int) -> Message:
        """The message of one outbox row in this profile; too large a one goes out with `dataref`, as in `imi`.

        `row.data` is embedded as PostgreSQL wrote it, behind one more member: `change`. Of a reference, data is an
        object, too: it names what was changed.
        """
        entity_id = row.entity_id or "-"
        envelope = self._envelope(row, entity_id)
        omission, payload = row.omission, b""
        if omission is None:
            payload = orjson.dumps(envelope | {"data": orjson.Fragment(self._data(row))})
            size = len(payload) + HEADER_BYTES
            omission = too_large(size, max_bytes) if size > max_bytes else None
        if omission is not None:
            named = {"change": row.action, f"{row.entity}_id": row.entity_id, "project_id": row.project_id}
            known = {name: value for name, value in named.items() if value is not None}
            payload = orjson.dumps(envelope | reference(row.event_id, omission) | {"data": known})
        return Message(
            str(envelope["subject"]),
            payload,
            row.id,
            row.event_id,
            row.transaction_id,
            omission is not None,
            entity_id,
            row.occurred_at,
            omission,
            row.traceparent,
            row.host_id,
        )

    def event_filter(self, entity: str | None, action: str | None, project_id: str | None) -> str:  # noqa: ARG002  # its subjects name no project
        """The subjects that have all events of `entity` and `action`, and others; none of them names a project."""
        named = event_action(entity, action) if entity and action else "*"
        return f"{self._grammar.root('evt')}.{entity or '*'}.{named}"

    def identity(self, headers: Mapping[str, str]) -> tuple[int, str] | tuple[None, None]:
        """Outbox id and event id of an event of this registry, which its source tells from one of another."""
        return identity(headers) if headers.get(SOURCE_HEADER) == self.source else (None, None)

    def parse_command(self, payload: bytes, twice: list[str]) -> Any:
        """A command of the pipeline with its attributes called as in `imi`."""
        return read_command(payload, twice)

    def complete_command(self, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
        """A command of ours with the attributes that the pipeline wants. Raises `Invalid` where it has no name."""
        return written_command(name, attributes, self._command_grammar, is_proposal_taken=self._shared.proposed)

    def reply(self, command: Command, outcome: Outcome) -> bytes:
        """What is published to the reply subject."""
        return orjson.dumps(written_reply(command, outcome, self.source, self._command_grammar))

    def _envelope(self, row: OutboxRow, entity_id: str) -> dict[str, object]:
        """All attributes of an event but its data."""
        word = f"{row.entity}.{event_action(row.entity, row.action)}"
        envelope: dict[str, object] = {
            "specversion": "1.0",
            "id": row.event_id,
            "source": self.source,
            "time": row.occurred_at,
            "datacontenttype": "application/json",
            **self._grammar.names("evt", word),
            "correlationid": row.correlation_id or row.event_id,
            "causationid": row.causation_id,
            "producer": PRODUCER,
            "service": SERVICE,
            "kind": "event",
            "actor": actor_of(row.actor, PRODUCER),
            "ordering_key": f"{row.entity}:{entity_id}",
            "sequence": f"{row.id:019d}",
            "transactionid": str(row.transaction_id),
        }
        if row.project_id is not None:
            envelope["partitionkey"] = row.project_id
        if row.host_id is not None:
            envelope["hostid"] = row.host_id
        if row.actor and row.actor_is_verified:
            envelope["actorverified"] = True
        if row.traceparent is not None and _TRACEPARENT.fullmatch(row.traceparent):
            envelope["traceparent"] = row.traceparent
        return envelope

    def _data(self, row: OutboxRow) -> str:
        """The data of `row`, an object, with the member `change`."""
        members = (row.data or "{}")[1:]
        separator = "" if members == "}" else ", "
        data = f'{{"change": "{row.action}"{separator}{members}'
        return data if self._shared.paths else without_paths(data)

    def _event_subjects(self, grammar: Grammar) -> list[str]:
        """What this profile publishes, in a grammar."""
        names = [name.split(".") for name in EVENTS]
        return [
            f"{grammar.root('evt')}.{entity}.{event_action(entity, action)}"
            for entity, action in names
            if self.publishes(entity, action)
        ]

    def _command_subjects(self, grammar: Grammar) -> list[str]:
        """What it is asked on, in a grammar."""
        return [
            f"{grammar.root('cmd')}.{command_word(name)}"
            for name in COMMANDS
            if self._shared.proposed or is_listed_command(name)
        ]
