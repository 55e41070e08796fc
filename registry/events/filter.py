"""Which events a reader wants: by subject where the stream can tell, by the envelope where only that can."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from registry.arguments import check_argument
from registry.errors import Invalid
from registry.events.actions import check_filter
from registry.events.envelope import attributes_of
from registry.validation import printable

DEFAULT_HOST = str(UUID(int=0))
"""The host of an event that tells of none: that of `registry.models`, which a reader of events does not import."""


@dataclass(frozen=True)
class EventFilter:
    """None means any. Ids are UUIDs in lower case; times are aware."""

    entity: str | None = None
    action: str | None = None
    project_id: str | None = None
    worktree_id: str | None = None
    """Events of the worktree itself and activities in it."""
    agent_id: str | None = None
    """Events whose data names this agent, as the present one or the previous one."""
    correlation_id: str | None = None
    host_id: str | None = None
    """Events of this host; those that tell of none are of the default one."""
    since: datetime | None = None
    """Occurred at or after."""
    until: datetime | None = None
    """Occurred before."""

    @classmethod
    def of(cls, **wanted: Any) -> EventFilter:
        """A checked filter; ids may be `UUID` or text of any case. Raises `Invalid` naming field, value and rule."""
        _check_fields(wanted)
        for name in ("project_id", "worktree_id", "correlation_id", "host_id"):
            if wanted.get(name) is not None:
                wanted[name] = _uuid(name.removesuffix("_id"), str(wanted[name]))
        made = cls(**wanted)
        check_filter(made.entity, made.action, made.project_id)
        return made

    def is_decided_by_subject(self, *, is_shared: bool) -> bool:
        """Whether the subject alone says if an event matches; on the shared stream it says less."""
        beyond = [self.worktree_id, self.agent_id, self.correlation_id, self.host_id, self.since, self.until]
        if is_shared:
            beyond += [self.action, self.project_id]
        return not any(beyond)

    def matches(self, payload: bytes) -> bool:
        """Whether the event with this envelope is wanted.

        Of an event that went out as a reference (`dataref`) the agent cannot be told: it matches. So does one that
        cannot be read, which its reader is to know of.
        """
        try:
            envelope = attributes_of(payload)
        except Invalid:
            return True
        data: dict[str, Any] = envelope.get("data") or {}
        entity, action, entity_id = what_happened(envelope)
        occurred_at = datetime.fromisoformat(envelope["time"])
        return (
            (self.entity is None or entity == self.entity)
            and (self.action is None or action in (self.action, None))
            and (self.project_id is None or envelope.get("partitionkey") == self.project_id)
            and (self.worktree_id is None or self.worktree_id in (entity_id, _field(data, "worktree_id")))
            and (self.agent_id is None or "dataref" in envelope or self._has_agent(data))
            and (self.correlation_id is None or envelope.get("correlationid") == self.correlation_id)
            and (self.host_id is None or (envelope.get("hostid") or DEFAULT_HOST) == self.host_id)
            and (self.since is None or occurred_at >= self.since)
            and (self.until is None or occurred_at < self.until)
        )

    def to_json(self) -> bytes:
        """The filter for a request; `from_json` reads it."""
        return orjson.dumps({name: value for name, value in asdict(self).items() if value is not None})

    @classmethod
    def from_json(cls, text: bytes) -> EventFilter:
        """Read what `to_json` wrote. Raises `Invalid`."""
        try:
            fields = orjson.loads(text)
            for name in {"since", "until"} & set(fields):
                fields[name] = datetime.fromisoformat(fields[name])
            return cls.of(**fields)
        except (ValueError, TypeError, AttributeError):
            raise Invalid(f"filter {text[:200]!r} is not an object of the known fields") from None

    def _has_agent(self, data: dict[str, Any]) -> bool:
        changed = data.get("changed")
        before = changed.get("agent_id") if isinstance(changed, dict) else None
        return self.agent_id in (data.get("agent_id"), before)


def _check_fields(wanted: dict[str, Any]) -> None:
    """Raise `Invalid` for a field that is none of a filter's, and for a value that is none of the field."""
    names = [field.name for field in fields(EventFilter)]
    for name, value in wanted.items():
        if name not in names:
            raise Invalid(f"filter: {printable(name)} is none of {', '.join(names)}")
        hint = UUID | str | None if name.endswith("_id") else str | None
        check_argument(name, value, datetime | None if name in {"since", "until"} else hint)


def what_happened(envelope: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Entity, action and id of the changed row of an event in either profile; the id is None where it has no UUID.

    On the shared stream the subject is that of NATS, and several of our actions have one name there.
    """
    action: str | None
    if envelope["type"].startswith("bloodbank."):
        entity, _, entity_id = str(envelope.get("ordering_key", "")).partition(":")
        action = (envelope.get("data") or {}).get("change")
    else:
        entity, _, entity_id = envelope["subject"].partition("/")
        action = envelope["type"].split(".")[2]
    if entity_id in {"", "-"}:
        return entity, action, None
    return entity, action, entity_id


def _field(data: dict[str, Any], name: str) -> Any:
    """A field of the data, whichever version of the event has it where."""
    worktree = data.get("worktree")
    return data.get(name) or (worktree.get(name) if isinstance(worktree, dict) else None)


def _uuid(name: str, value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise Invalid(f"{name} {printable(value)} is not a UUID") from None
