"""What our events and commands are called in the pipeline's shared stream, and which of these names its contract has.

Its allowlists name an entity, an action of an event in the past tense and one of a command in the imperative. Each of
our events is mapped to the action of its list that means the same to somebody who knows that list alone; `data.change`
says which of ours it was. docs/bloodbank.md has the table, made of this one.
"""

from __future__ import annotations

DOMAIN = "workspace"
LISTED_ENTITIES = frozenset({"worktree"})
"""Entities of ours that the contract has in this domain; beside them it has `branch` and `diff`, which are not ours."""
LISTED_COMMAND_ACTIONS = frozenset({"create", "close", "complete", "checkout"})
"""Of the contract's actions of commands those that we use."""
CHANGED = "updated"
"""What anything is that has no word of its own."""

EVENTS = {
    "worktree.created": "created",
    "worktree.updated": "updated",
    "worktree.git_state_updated": "updated",
    "worktree.claimed": "checked_out",
    "worktree.released": "released",
    "worktree.merged": "completed",
    "worktree.removed": "closed",
    "worktree.reactivated": "resumed",
    "worktree.deleted": "closed",
    "project.registered": "created",
    "project.updated": "updated",
    "project.deactivated": "closed",
    "project.reactivated": "resumed",
    "project.merged": "updated",
    "project.deleted": "closed",
    "worktree_type.added": "created",
    "worktree_type.updated": "updated",
    "worktree_type.removed": "closed",
    "activity.logged": "recorded",
    "host.registered": "created",
    "host.updated": "updated",
    "host.removed": "closed",
    "project_host.added": "created",
    "project_host.updated": "updated",
    "project_host.removed": "closed",
    "registry.truncated": "updated",
    "command.applied": "completed",
    "command.rejected": "denied",
}
"""Our event to the action it has there. One that is not here stays at home: a heartbeat says that nothing happened."""

COMMANDS = {
    "worktree.register": "create",
    "worktree.claim": "checkout",
    "worktree.merge": "complete",
    "worktree.remove": "close",
    "worktree.update": "update",
    "worktree.update_git_state": "update_git_state",
    "worktree.release": "release",
    "project.register": "create",
    "project.update": "update",
    "project.deactivate": "close",
    "worktree_type.add": "create",
    "worktree_type.remove": "close",
    "activity.log": "append",
}
"""Our command to the action it has there."""

_OURS = {f"{name.partition('.')[0]}.{action}": name for name, action in COMMANDS.items()}
HEARTBEAT = "registry.heartbeat"


def event_action(entity: str, action: str) -> str:
    """The action that an event of ours has in the shared stream."""
    return EVENTS.get(f"{entity}.{action}", CHANGED)


def is_listed_event(entity: str) -> bool:
    """Whether the contract of today has a name for the events of `entity`."""
    return entity in LISTED_ENTITIES


def command_word(name: str) -> str:
    """`<entity>.<action>` of a command of ours there; one that we do not know is called as it is."""
    entity, _, verb = name.partition(".")
    return f"{entity}.{COMMANDS.get(name, verb)}"


def is_listed_command(name: str) -> bool:
    """Whether the contract of today has a name for a command of ours."""
    return name.partition(".")[0] in LISTED_ENTITIES and COMMANDS.get(name) in LISTED_COMMAND_ACTIONS


def our_command(word: str) -> str:
    """The command of ours that `<entity>.<action>` means, whether it is in the pipeline's words or in ours."""
    return _OURS.get(word, word)
