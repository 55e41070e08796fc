"""A judge of messages in the pipeline's shared stream: its contract's own words, and nothing of the registry's code.

docs/event-naming.md of Bloodbank: §2 types, §3 subjects, §6 to §8 what may be named, §11 attributes, §13 schemas; older
deployments have `v1` behind the first token of a type and behind the kind of a subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

DOMAINS = {"workspace"}
"""Reserved there, so that nobody else uses it; the domains that are active are not ours."""
ENTITIES = {"worktree", "branch", "diff"}


def _words(text: str) -> set[str]:
    return set(text.split())


EVENT_ACTIONS = _words(
    "created resumed started ended completed failed canceled generated appended received sent granted denied opened "
    "closed spawned exited checked_out requested invoked recorded triaged updated reached resolved detected flagged "
    "routed breached observed clocked_in clocked_out delegated raised released expired skipped"
)
COMMAND_ACTIONS = _words(
    "create resume start end complete fail cancel generate append receive send grant deny open close spawn kill "
    "checkout invoke request toggle clock_in clock_out"
)
ACTIONS = {"event": EVENT_ACTIONS, "command": COMMAND_ACTIONS, "reply": COMMAND_ACTIONS}
MARKERS = {"event": "evt", "command": "cmd", "reply": "rpy"}
REQUIRED = _words(
    "specversion id source type subject time datacontenttype correlationid causationid producer service kind domain "
    "actor ordering_key data dataschema schemaref"
)
PROPOSED_ENTITIES = {"project", "worktree_type", "host", "project_host", "activity", "registry", "command"}
PROPOSED_COMMAND_ACTIONS = {"update", "update_git_state", "release"}


def faults(subject: str, message: dict[str, Any], *, is_v1: bool = False, is_proposed: bool = False) -> list[str]:
    """What breaks the contract in a message that came on `subject`; with `is_proposed` what is asked for is in it."""
    return [*_attributes(message), *_names(subject, message, is_v1, is_proposed), *_kind(message)]


def _attributes(message: dict[str, Any]) -> Iterator[str]:
    for name in sorted(REQUIRED):
        if name not in message:
            yield f"{name} is missing"
    if message.get("specversion") != "1.0" or message.get("datacontenttype") != "application/json":
        yield "specversion or datacontenttype is another"
    for name in ("id", "correlationid"):
        if not _is_uuid(message.get(name)):
            yield f"{name} is no UUID: {message.get(name)!r}"
    if message.get("causationid") is not None and not _is_uuid(message["causationid"]):
        yield f"causationid is neither a UUID nor null: {message['causationid']!r}"
    if not str(message.get("source")).startswith("urn:33god:service:"):
        yield f"source {message.get('source')!r}"
    if not _is_time(message.get("time")):
        yield f"time {message.get('time')!r}"
    for name in ("producer", "service"):
        if not (isinstance(message.get(name), str) and message[name]):
            yield f"{name} is no text"
    if not isinstance(message.get("data"), dict):
        yield "data is no object"
    actor = message.get("actor")
    if not isinstance(actor, dict) or not all(isinstance(actor.get(n), str) and actor[n] for n in ("type", "agent_id")):
        yield f"actor {actor!r}"


def _names(subject: str, message: dict[str, Any], is_v1: bool, is_proposed: bool) -> Iterator[str]:
    kind = message.get("kind", "")
    tokens = str(message.get("type")).split(".")
    version = ["v1"] if is_v1 else []
    domain, entity, action = (tokens[-3:] + [""] * 3)[:3]
    if tokens != ["bloodbank", *version, domain, entity, action]:
        yield f"type {message.get('type')!r} has other tokens"
    if domain not in DOMAINS or message.get("domain") != domain:
        yield f"domain {message.get('domain')!r} of type {message.get('type')!r}"
    if entity not in ENTITIES | (PROPOSED_ENTITIES if is_proposed else set()):
        yield f"entity {entity} is not on the list"
    if action not in ACTIONS.get(kind, set()) | (
        PROPOSED_COMMAND_ACTIONS if is_proposed and kind != "event" else set()
    ):
        yield f"action {action} is not on the list of a {kind}"
    expected = ".".join(["bloodbank", MARKERS.get(kind, "?"), *version, domain, entity, action])
    if not subject == message.get("subject") == expected:
        yield f"came on {subject}, subject {message.get('subject')!r}, expected {expected}"
    revision = str(message.get("schemaref")).rpartition(".v")[2]
    if message.get("schemaref") != f"{message.get('type')}.v{revision}" or not revision.isdigit():
        yield f"schemaref {message.get('schemaref')!r}"
    if message.get("dataschema") != f"apicurio://holyfields/{message.get('type')}/versions/{revision}":
        yield f"dataschema {message.get('dataschema')!r}"
    key_entity, _, key = str(message.get("ordering_key")).partition(":")
    if not key or (key_entity not in ENTITIES and not is_proposed):
        yield f"ordering_key {message.get('ordering_key')!r}"


def _kind(message: dict[str, Any]) -> Iterator[str]:
    kind = message.get("kind")
    if kind == "command":
        if not _is_uuid(message.get("command_id")):
            yield "command_id is no UUID"
        if not message.get("idempotency_key") or message.get("delivery") != "single_consumer":
            yield "idempotency_key is missing, or delivery is another"
        if message.get("causationid") is None and message.get("correlationid") != message.get("command_id"):
            yield "a command without a cause does not begin its own correlation"
    elif kind == "reply":
        outcome = message.get("data")
        if message.get("causationid") is None:
            yield "a reply does not say to which command"
        elif isinstance(outcome, dict) and outcome.get("command_id") != message["causationid"]:
            yield f"a reply to {message['causationid']} has the outcome of {outcome.get('command_id')!r}"
    elif kind not in MARKERS:
        yield f"kind {kind!r}"


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value.lower()
    except ValueError:
        return False
