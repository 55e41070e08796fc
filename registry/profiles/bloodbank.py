"""The `bloodbank` naming profile: our events as messages of the pipeline's existing shared event stream.

The stream, its subjects and its validator belong to others. It knows five actions of a worktree; ours are mapped to
them, and `data.change` says which of ours it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from registry import exact
from registry.commands import command_type
from registry.errors import Invalid
from registry.events.message import HEADER_BYTES, Message, OutboxRow, identity
from registry.events.reference import reference, too_large
from registry.subjects import Names

STREAM = "BLOODBANK_EVENTS"
SUBJECTS = "bloodbank.evt.workspace.>"
SOURCE_HEADER = "Imi-Source"
"""Tells our messages from those of another registry in the same stream."""
PRODUCER = "imi-registry"
SERVICE = "imi"
DOMAIN = "workspace"
WORKTREE_ACTIONS = {"created": "created", "removed": "closed", "merged": "completed", "released": "released"}
"""Our action of a worktree to the validator's; every other one is `updated`."""


def shared_action(entity: str, action: str) -> str:
    """The action in the shared stream's vocabulary."""
    return WORKTREE_ACTIONS.get(action, "updated") if entity == "worktree" else action


class BloodbankProfile:
    """The shared stream; `prefix` names what is the registry's own beside it: its services and dead letters.

    Raises `Invalid` for `event_versions`, of which this profile has none but the first.
    """

    is_shared = True
    event_stream = STREAM
    event_subjects = SUBJECTS

    def __init__(self, prefix: str, source: str, event_versions: Mapping[str, int] | None = None) -> None:
        if event_versions:
            raise Invalid("setting event_versions: profile bloodbank has version 1 of each event only")
        self.source = source
        self.requests = Names(prefix).requests
        self.letters = Names(prefix).letters
        self.commands = replace(
            Names(prefix).commands,
            stream="BLOODBANK_COMMANDS",
            filter=f"bloodbank.cmd.{DOMAIN}.>",
            command_root=f"bloodbank.cmd.{DOMAIN}",
            reply_root=f"bloodbank.rpy.{DOMAIN}",
        )

    def encode(self, row: OutboxRow, max_bytes: int) -> Message:
        """The message of one outbox row in this profile; too large a one goes out with `dataref`, as in `imi`.

        `row.data` is embedded as PostgreSQL wrote it, behind one more member: `change`.
        """
        kind = f"{DOMAIN}.{row.entity}.{shared_action(row.entity, row.action)}"
        entity_id = row.entity_id or "-"
        envelope = self._envelope(row, kind, entity_id)
        omission, payload = row.omission, b""
        if omission is None:
            payload = orjson.dumps(envelope | {"data": orjson.Fragment(_with_change(row))})
            size = len(payload) + HEADER_BYTES
            omission = too_large(size, max_bytes) if size > max_bytes else None
        if omission is not None:
            payload = orjson.dumps(envelope | reference(row.event_id, omission))
        subject = f"bloodbank.evt.{kind}"
        is_reference = omission is not None
        return Message(
            subject,
            payload,
            row.id,
            row.event_id,
            row.transaction_id,
            is_reference,
            entity_id,
            row.occurred_at,
            omission,
            row.traceparent,
        )

    def event_filter(self, entity: str | None, action: str | None, project_id: str | None) -> str:  # noqa: ARG002
        """The subjects that have all events of `entity` and `action`, and others; none of them names a project."""
        named = shared_action(entity, action) if entity and action else "*"
        return f"bloodbank.evt.{DOMAIN}.{entity or '*'}.{named}"

    def identity(self, headers: Mapping[str, str]) -> tuple[int, str] | tuple[None, None]:
        """Outbox id and event id of an event of this registry, which its source tells from one of another."""
        return identity(headers) if headers.get(SOURCE_HEADER) == self.source else (None, None)

    def parse_command(self, payload: bytes, twice: list[str]) -> Any:
        """A command of the pipeline with its attributes called as in `imi`.

        `command_id` is the same in every attempt, `id` need not be; the type is
        `bloodbank.workspace.<entity>.<verb>`, and the actor an object.
        """
        attributes = exact.loads(payload, twice)
        if not isinstance(attributes, dict):
            return attributes
        ours = dict(attributes)
        for name, known in (("command_id", "id"), ("idempotency_key", "idempotencykey")):
            if name in attributes:
                ours[known] = attributes[name]
        kind = attributes.get("type")
        if isinstance(kind, str) and kind.startswith(f"bloodbank.{DOMAIN}."):
            ours["type"] = command_type(kind.removeprefix(f"bloodbank.{DOMAIN}."))
        if isinstance(attributes.get("actor"), dict):
            ours["actor"] = attributes["actor"].get("agent_id")
        return ours

    def complete_command(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """A command of ours with the attributes that the pipeline wants in addition."""
        key = attributes.get("idempotencykey", attributes["id"])
        return attributes | {"command_id": attributes["id"], "idempotency_key": key, "delivery": 1}

    def _envelope(self, row: OutboxRow, kind: str, entity_id: str) -> dict[str, object]:
        """All attributes of an event but its data."""
        agent = {"type": "agent", "agent_id": row.actor}
        service = {"type": "service", "agent_id": PRODUCER}
        envelope: dict[str, object] = {
            "specversion": "1.0",
            "id": row.event_id,
            "source": self.source,
            "type": f"bloodbank.{kind}",
            "subject": f"{row.entity}/{entity_id}",
            "time": row.occurred_at,
            "datacontenttype": "application/json",
            "dataschema": Names().data_schema(row.entity, row.action),
            "schemaref": f"{kind}.v1",
            "producer": PRODUCER,
            "service": SERVICE,
            "domain": DOMAIN,
            "kind": "event",
            "actor": agent if row.actor else service,
            "ordering_key": f"{row.entity}:{entity_id}",
            "correlationid": row.correlation_id or row.event_id,
            "sequence": f"{row.id:019d}",
            "transactionid": str(row.transaction_id),
        }
        if row.causation_id is not None:
            envelope["causationid"] = row.causation_id
        if row.project_id is not None:
            envelope["partitionkey"] = row.project_id
        if row.actor and row.actor_is_verified:
            envelope["actorverified"] = True
        if row.traceparent is not None:
            envelope["traceparent"] = row.traceparent
        return envelope


def _with_change(row: OutboxRow) -> str:
    """The data of `row`, an object, with the member `change`."""
    members = (row.data or "{}")[1:]
    separator = "" if members == "}" else ", "
    return f'{{"change": "{row.action}"{separator}{members}'
