"""Events of commands: how each request to the registry ended."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from registry.events.base import Data, NoChanges, example

ErrorCode = Literal["VALIDATION_ERROR", "NOT_FOUND", "CONFLICT", "INTERNAL_ERROR"]
_PROJECT_ID = "0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11"
_COMMAND: dict[str, Any] = {
    "command_id": "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01",
    "type": "project.register",
    "idempotency_key": "register-flow-engine",
}


class Command(Data):
    """A command and its outcome."""

    command_id: UUID
    """Id of the command; also the event's causationid."""
    type: str
    """What was asked for: project.register, worktree.claim …"""
    message: str
    """The outcome in words."""
    idempotency_key: str | None
    """The sender's key of the request."""
    project_id: UUID | None
    """The project it was about."""
    changed: NoChanges
    """Empty: the change itself has events of its own."""


class CommandApplied(Command):
    """A command was applied, or had been before and changed nothing (idempotent)."""

    model_config = example(
        _COMMAND,
        verdict="applied",
        code=None,
        message="project registered",
        result={"project_id": _PROJECT_ID},
        project_id=_PROJECT_ID,
    )
    verdict: Literal["applied", "idempotent"]
    """Whether this command made the change."""
    code: None
    """Null."""
    result: dict[str, Any] | None
    """What the command returns."""


class CommandRejected(Command):
    """A command was refused and changed nothing."""

    model_config = example(
        _COMMAND,
        verdict="rejected",
        code="VALIDATION_ERROR",
        message='remote origin "github.com/x" is not owner/repo on GitHub',
        result=None,
        project_id=None,
    )
    verdict: Literal["rejected"]
    """Rejected."""
    code: ErrorCode
    """What kind of mistake it was."""
    result: dict[str, Any] | None
    """Null."""
