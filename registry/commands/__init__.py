"""The commands: what the registry can be asked to do, how it is asked, and what it answers."""

from typing import TYPE_CHECKING

from registry.commands.envelope import Code, CommandEnvelope, Outcome, Verdict, command_type
from registry.deferred import deferred

if TYPE_CHECKING:
    from registry.commands.catalogue import (
        COMMANDS,
        AddWorktreeType,
        ClaimWorktree,
        CommandData,
        DeactivateProject,
        LogActivity,
        MergeWorktree,
        ProjectCommand,
        RegisterProject,
        RegisterWorktree,
        ReleaseWorktree,
        RemoveWorktree,
        RemoveWorktreeType,
        UpdateGitState,
        UpdateProject,
        UpdateWorktree,
        WorktreeCommand,
        validated,
    )

__all__ = [
    "COMMANDS",
    "AddWorktreeType",
    "ClaimWorktree",
    "Code",
    "CommandData",
    "CommandEnvelope",
    "DeactivateProject",
    "LogActivity",
    "MergeWorktree",
    "Outcome",
    "ProjectCommand",
    "RegisterProject",
    "RegisterWorktree",
    "ReleaseWorktree",
    "RemoveWorktree",
    "RemoveWorktreeType",
    "UpdateGitState",
    "UpdateProject",
    "UpdateWorktree",
    "Verdict",
    "WorktreeCommand",
    "command_type",
    "validated",
]

__getattr__ = deferred(
    __name__,
    "registry.commands.catalogue",
    frozenset(__all__) - {"Code", "CommandEnvelope", "Outcome", "Verdict", "command_type"},
)
"""A model for each command: who sends none, as who only follows events, needs none of them."""
