"""The `bloodbank` naming profile: our events as messages of the pipeline's existing shared event stream.

The stream, its subjects and its validator belong to others. It knows five actions of a worktree; ours are mapped to
them, and `data.change` says which of ours it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from registry.commands import command_type
from registry.events.message import HEADER_BYTES, Message, OutboxRow
from registry.subjects import CommandNames, Names

STREAM = "BLOODBANK_EVENTS"
SUBJECTS = "bloodbank.evt.workspace.>"
PRODUCER = "imi-registry"
SERVICE = "imi"
DOMAIN = "workspace"
WORKTREE_ACTIONS = {"created": "created", "removed": "closed", "merged": "completed", "released": "released"}
"""Our action of a worktree to the validator's; every other one is `updated`."""


def shared_action(entity: str, action: str) -> str:
    """The action in the shared stream's vocabulary."""
    return WORKTREE_ACTIONS.get(action, "updated") if entity == "worktree" else action


def event_filter(entity: str | None, action: str | None, project_id: str | None) -> str:  # noqa: ARG001
    """The subjects that have all events of `entity` and `action`, and others; no project stands in a subject here."""
    named = shared_action(entity, action) if entity and action else "*"
    return f"bloodbank.evt.{DOMAIN}.{entity or '*'}.{named}"


def encode(row: OutboxRow, source: str, max_bytes: int) -> Message:
    """The message of one outbox row in this profile; too large a one goes out with `dataref`, as in `imi`.

    `row.data` is embedded as PostgreSQL wrote it, behind one more member: `change`.
    """
    action = shared_action(row.entity, row.action)
    kind = f"{DOMAIN}.{row.entity}.{action}"
    entity_id = row.entity_id or "-"
    envelope: dict[str, object] = {
        "specversion": "1.0",
        "id": row.event_id,
        "source": source,
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
        "actor": {"type": "agent", "agent_id": row.actor} if row.actor else {"type": "service", "agent_id": PRODUCER},
        "ordering_key": f"{row.entity}:{entity_id}",
        "correlationid": row.correlation_id or row.event_id,
        "causationid": row.causation_id,
        "sequence": f"{row.id:019d}",
        "transactionid": str(row.transaction_id),
    }
    if row.project_id is not None:
        envelope["partitionkey"] = row.project_id
    if row.traceparent is not None:
        envelope["traceparent"] = row.traceparent
    data = f'{{"change": "{row.action}", {row.data[1:]}'
    payload = orjson.dumps(envelope | {"data": orjson.Fragment(data)})
    is_reference = len(payload) + HEADER_BYTES > max_bytes
    if is_reference:
        payload = orjson.dumps(envelope | {"dataref": f"urn:imi:registry:outbox:{row.event_id}"})
    subject = f"bloodbank.evt.{kind}"
    return Message(subject, payload, row.id, row.event_id, row.transaction_id, is_reference, entity_id)


def command_names(prefix: str) -> CommandNames:
    """Commands travel in the pipeline's work queue; dead letters have a stream of our own."""
    return replace(
        Names(prefix).commands,
        stream="BLOODBANK_COMMANDS",
        filter=f"bloodbank.cmd.{DOMAIN}.>",
        command_root=f"bloodbank.cmd.{DOMAIN}",
        reply_root=f"bloodbank.rpy.{DOMAIN}",
    )


def parse_command(payload: bytes) -> Any:
    """A command of the pipeline with its attributes called as in `imi`.

    `command_id` is the same in every attempt, `id` need not be; the type is `bloodbank.workspace.<entity>.<verb>`, and
    the actor an object.
    """
    attributes = orjson.loads(payload)
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


def complete_command(attributes: dict[str, Any]) -> dict[str, Any]:
    """A command of ours with the attributes that the pipeline wants in addition."""
    key = attributes.get("idempotencykey", attributes["id"])
    return attributes | {"command_id": attributes["id"], "idempotency_key": key, "delivery": 1}
