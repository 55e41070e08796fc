"""The `imi` naming profile: a stream of the registry's own, CloudEvents 1.0 in structured mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import orjson

from registry import exact
from registry.commands import Outcome
from registry.commands.reading import Command
from registry.events.message import HEADER_BYTES, Message, OutboxRow, identity
from registry.events.reference import reference, too_large
from registry.profiles.versions import check_versions, converted
from registry.subjects import Names


class ImiProfile:
    """Names that begin with `prefix`; an event is published in the major version that `event_versions` names, else 1.

    Raises `Invalid` for an event or version that does not exist.
    """

    is_shared = False
    has_all_events = True

    def __init__(self, prefix: str, source: str, event_versions: Mapping[str, int] | None = None) -> None:
        names = Names(prefix)
        self.event_stream = names.event_stream
        self.event_subjects = names.event_subjects
        self.source = source
        self.requests = names.requests
        self.commands = names.commands
        self.letters = names.letters
        self._names = names
        self._versions = event_versions or {}
        check_versions(self._versions)
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def on_streams(self, events: Sequence[str] | None, commands: Sequence[str] | None) -> Self:  # noqa: ARG002  # asked of each profile
        """This profile: its streams are its own."""
        return self

    def publishes(self, entity: str, action: str) -> bool:  # noqa: ARG002  # asked of each profile
        """Every event goes into the stream."""
        return True

    def check_wanted(self, entity: str | None, action: str | None) -> None:
        """Every event is there."""

    def encode(self, row: OutboxRow, max_bytes: int) -> Message:
        """The message of one outbox row. Data of version 1 is embedded as PostgreSQL wrote it, never parsed.

        The envelope is written as text: a dictionary and a JSON library take four times as long, a quarter of the
        relay's time. Ids, the time and numbers come from typed columns; every other value is quoted by the library.

        A message that would exceed `max_bytes`, the server's limit, goes out without `data` and with `dataref` instead:
        a URN of the outbox row that holds it. So does a row with an omission.

        Raises `ValueError` or `LookupError` for data that cannot be converted.
        """
        kind = self._kinds.get((row.entity, row.action)) or self._new_kind(row.entity, row.action)
        subject = f"{kind.subject}/{row.entity_id}" if row.entity_id else kind.subject
        envelope = (
            f'{{"specversion":"1.0","id":"{row.event_id}","source":{kind.source},"type":{kind.type},'
            f'"subject":"{subject}","time":"{row.occurred_at}","datacontenttype":"application/json",'
            f'"dataschema":{kind.dataschema},"correlationid":"{row.correlation_id or row.event_id}",'
            f'"sequence":"{row.id:019d}","transactionid":"{row.transaction_id}"'
        )
        # An attribute that is not set is left out: SDKs of CloudEvents read null as the text.
        if row.causation_id is not None:
            envelope += f',"causationid":"{row.causation_id}"'
        if row.project_id is not None:
            envelope += f',"partitionkey":"{row.project_id}"'
        if row.host_id is not None:
            envelope += f',"hostid":{_json(row.host_id)}'
        if row.actor is not None:
            envelope += f',"actor":{_json(row.actor)}'
            if row.actor_is_verified:
                envelope += ',"actorverified":true'
        if row.traceparent is not None:
            envelope += f',"traceparent":{_json(row.traceparent)}'
        omission, payload = row.omission, b""
        if omission is None:
            data = row.data if kind.version == 1 else converted(row, kind.version)
            payload = f'{envelope},"data":{data}}}'.encode()
            size = len(payload) + HEADER_BYTES
            omission = too_large(size, max_bytes) if size > max_bytes else None
        if omission is not None:
            payload = f"{envelope},{orjson.dumps(reference(row.event_id, omission)).decode()[1:]}".encode()
        return Message(
            self._names.event_subject(row.entity, row.action, row.project_id),
            payload,
            row.id,
            row.event_id,
            row.transaction_id,
            omission is not None,
            row.entity_id or "-",
            row.occurred_at,
            omission,
            row.traceparent,
            row.host_id,
            row.entity_id if row.entity == "command" else None,
            row.causation_id,
        )

    def event_filter(self, entity: str | None, action: str | None, project_id: str | None) -> str:
        """The subjects of exactly these events, None for any."""
        return self._names.event_filter(entity, action, project_id)

    def identity(self, headers: Mapping[str, str]) -> tuple[int, str] | tuple[None, None]:
        """Outbox id and event id: nobody but the publisher writes such headers into the registry's own stream."""
        return identity(headers)

    def parse_command(self, payload: bytes, twice: list[str]) -> Any:
        """A command as it is."""
        return exact.loads(payload, twice)

    def complete_command(self, name: str, attributes: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002  # asked of each profile
        """A command as it is."""
        return attributes

    def reply(self, command: Command, outcome: Outcome) -> bytes:  # noqa: ARG002  # asked of each profile
        """The outcome as it is."""
        return outcome.model_dump_json().encode()

    def _new_kind(self, entity: str, action: str) -> _Kind:
        version = self._versions.get(f"{entity}.{action}", 1)
        kind = self._kinds[entity, action] = _Kind(
            version,
            _json(self.source),
            _json(self._names.event_type(entity, action, version)),
            _json(self._names.data_schema(entity, action, version)),
            _json(entity)[1:-1],
        )
        return kind


class _Kind(NamedTuple):
    """What the envelopes of all events of one kind have in common, as JSON; `subject` is without quotes."""

    version: int
    source: str
    type: str
    dataschema: str
    subject: str


def _json(text: str) -> str:
    return orjson.dumps(text).decode()
