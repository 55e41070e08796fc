"""Commands and replies in the pipeline's words: attributes that its contract wants, and how they are read as ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from registry import exact
from registry.commands import Outcome, command_type
from registry.commands.reading import Command
from registry.errors import Invalid
from registry.profiles.grammar import Grammar, is_bound
from registry.profiles.words import COMMANDS, DOMAIN, command_word, is_listed_command, our_command
from registry.subjects import CommandNames

PRODUCER = "imi-registry"
SERVICE = "imi"
SOURCE_ROOT = "urn:33god:service:"
DELIVERY = "single_consumer"
_TYPE = re.compile(rf"bloodbank\.(?:v1\.)?{DOMAIN}\.([^.]+\.[^.]+)")
_NAMED_BY = ("path", "remote_origin", "project_id", "name")
"""Fields that name what a command is about where it gives no id of its own; the first one counts."""
_KEYS = UUID("6a1d0c52-7c1e-4a54-8f0e-2f5d0b3f4a10")


@dataclass(frozen=True)
class PipelineCommandNames(CommandNames):
    """Names of commands there; those that we are asked with are the registry's own."""

    def taken_from(self, bound: Sequence[str]) -> list[str]:
        """The subjects of our entities, as far as the stream takes them: a consumer can have no others.

        Those of others in the same domain are not ours to take.
        """
        found: list[str] = []
        for entity in dict.fromkeys(name.partition(".")[0] for name in COMMANDS):
            subjects = f"{self.command_root}.{entity}"
            words = [word for name in COMMANDS for word in (command_word(name), name) if word.startswith(f"{entity}.")]
            named = [f"{self.command_root}.{word}" for word in dict.fromkeys(words)]
            is_whole = is_bound(bound, f"{subjects}.any")
            found += [f"{subjects}.*"] if is_whole else [subject for subject in named if is_bound(bound, subject)]
        return found

    def command_subject(self, name: str, sender: str | None = None) -> str:  # noqa: ARG002  # it has none there
        """Subject a command is published to, in the pipeline's words."""
        return super().command_subject(command_word(name))

    def name_of(self, subject: str) -> str | None:
        """The command a subject stands for, in the pipeline's words or in ours."""
        word = super().name_of(subject)
        return None if word is None else our_command(word)

    def sender_of(self, subject: str) -> str | None:  # noqa: ARG002  # asked of each profile
        """Nobody: the contract has no subjects of senders, so nothing proves who asks."""
        return None

    def reply_subject(self, name: str, command_id: UUID) -> str:  # noqa: ARG002  # it is in the message
        """Subject the outcome of a command is published to."""
        return f"{self.reply_root}.{command_word(name)}"


def read_command(payload: bytes, twice: list[str]) -> Any:
    """A command of the pipeline with its attributes called as in `imi`.

    `command_id` is the same in every attempt, `id` need not be; the type is that of either grammar, in the pipeline's
    words or in ours, and the actor an object.
    """
    attributes = exact.loads(payload, twice)
    if not isinstance(attributes, dict):
        return attributes
    ours = dict(attributes)
    for name, known in (("command_id", "id"), ("idempotency_key", "idempotencykey")):
        if name in attributes:
            ours[known] = attributes[name]
    kind = _TYPE.fullmatch(str(attributes.get("type")))
    if kind is not None:
        ours["type"] = command_type(our_command(kind[1]))
    if isinstance(attributes.get("actor"), dict):
        ours["actor"] = attributes["actor"].get("agent_id")
    return ours


def written_command(
    name: str, attributes: dict[str, Any], grammar: Grammar, *, is_proposal_taken: bool
) -> dict[str, Any]:
    """A command of ours, `attributes` as in `imi`, as the pipeline has it.

    Raises `Invalid` for one that its contract has no name for, unless what is proposed to it is taken for agreed.
    """
    if not (is_proposal_taken or is_listed_command(name)):
        raise Invalid(
            f"{name}: the contract of the shared stream has no such command today; it is sent when the registry and "
            "you take the proposal (docs/bloodbank.md) for agreed: IMI_BLOODBANK_PROPOSED, proposed=True"
        )
    word, command_id = command_word(name), str(attributes["id"])
    sender = str(attributes["source"]).rsplit(":", 1)[-1]
    key = attributes.get("idempotencykey", f"{DOMAIN}.{word}:command:{command_id}")
    kept = {field: value for field, value in attributes.items() if field != "idempotencykey"}
    return (
        kept
        | grammar.names("cmd", word)
        | {
            "source": f"{SOURCE_ROOT}{sender}",
            "producer": sender,
            "service": sender,
            "kind": "command",
            "actor": actor_of(attributes.get("actor"), sender),
            "correlationid": attributes.get("correlationid", command_id),
            "causationid": attributes.get("causationid"),
            "ordering_key": ordering_key(name, attributes["data"], command_id),
            "command_id": command_id,
            "idempotency_key": key,
            "delivery": DELIVERY,
        }
    )


def written_reply(command: Command, outcome: Outcome, source: str, grammar: Grammar) -> dict[str, Any]:
    """The outcome of a command as a message of its own; the same command has the same reply, whenever it is sent."""
    known = command.data | (outcome.result or {})
    return {
        "specversion": "1.0",
        "id": str(uuid5(command.id, "reply")),
        "source": source,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        **grammar.names("rpy", command_word(command.name)),
        "correlationid": str(command.correlation_id),
        "causationid": str(outcome.command_id),
        "producer": PRODUCER,
        "service": SERVICE,
        "kind": "reply",
        "actor": actor_of(command.actor, PRODUCER),
        "ordering_key": ordering_key(command.name, known, str(command.id)),
        "data": outcome.model_dump(mode="json"),
    }


def actor_of(actor: str | None, service: str) -> dict[str, str]:
    """Who did it: an agent that was named, else the service itself."""
    if actor:
        return {"type": "agent", "agent_id": actor}
    return {"type": "service", "agent_id": service}


def ordering_key(name: str, data: dict[str, Any], otherwise: str) -> str:
    """`<entity>:<id>` of what a command is about; of one that names it otherwise, an id made of that name."""
    entity = "worktree" if name.startswith("activity.") else name.partition(".")[0]
    return f"{entity}:{next(_ids(entity, data), otherwise)}"


def _ids(entity: str, data: dict[str, Any]) -> Iterator[str]:
    if data.get(f"{entity}_id") is not None:
        yield str(data[f"{entity}_id"])
    for field in _NAMED_BY:
        if isinstance(data.get(field), str):
            yield str(uuid5(_KEYS, f"{field}:{data[field]}"))
