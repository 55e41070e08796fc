"""The `bloodbank` naming profile: our events as messages of the pipeline's existing shared event stream.

The stream, its subjects and its validator belong to others. It knows five actions of a worktree; ours are mapped to
them, and `data.change` says which of ours it was.
"""

from __future__ import annotations

import orjson

from registry.envelope import HEADER_BYTES, Message, OutboxRow
from registry.subjects import Names

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
