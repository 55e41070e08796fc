"""Commands as a component calls them: one method each, which returns ids or raises what the registry refused."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from registry import commands
from registry.broker.answers import outcome_error
from registry.client.sender import PLAIN, CommandSender, Sending


class CommandClient(CommandSender):
    """The commands of `registry/commands/catalogue.py`, with their fields as arguments; None leaves a field out.

    Every call raises `Invalid`, `NotFound` or `Conflict` when the command is refused, `Unavailable` when it was not
    sent, and its subclass `OutcomeUnknown` when it was and no outcome came: it may be carried out yet. Calling again
    with the same idempotency key is safe then. Paths are those of the client's host, where it has one.
    """

    _host: str | None = None

    async def register_project(
        self,
        *,
        name: str,
        remote_origin: str,
        default_branch: str | None = None,
        trunk_path: str | None = None,
        derived_id: bool | None = None,
        metadata: dict[str, Any] | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Id of the project of this origin: created, its id derived or not; or taken up again, its metadata merged."""
        return await self._id(
            "project_id",
            "project.register",
            sending,
            name=name,
            remote_origin=remote_origin,
            default_branch=default_branch,
            trunk_path=trunk_path,
            derived_id=derived_id,
            metadata=metadata,
        )

    async def update_project(
        self,
        *,
        project_id: UUID | None = None,
        remote_origin: str | None = None,
        name: str | None = None,
        default_branch: str | None = None,
        trunk_path: str | None = None,
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Change what is given of a project, named by id or origin; metadata is merged. Returns its id."""
        return await self._id(
            "project_id",
            "project.update",
            sending,
            project_id=project_id,
            remote_origin=remote_origin,
            name=name,
            default_branch=default_branch,
            trunk_path=trunk_path,
            description=description,
            metadata=metadata,
        )

    async def deactivate_project(
        self,
        *,
        project_id: UUID | None = None,
        remote_origin: str | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Deactivate a project, named by id or origin, and its worktrees. Returns its id."""
        return await self._id(
            "project_id", "project.deactivate", sending, project_id=project_id, remote_origin=remote_origin
        )

    async def register_worktree(
        self,
        *,
        type_name: str,
        name: str,
        branch_name: str,
        path: str,
        project_id: UUID | None = None,
        remote_origin: str | None = None,
        agent_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Id of the worktree of this project and name: created, taken up again, or updated where it differs."""
        return await self._id(
            "worktree_id",
            "worktree.register",
            sending,
            type_name=type_name,
            name=name,
            branch_name=branch_name,
            path=path,
            project_id=project_id,
            remote_origin=remote_origin,
            agent_id=agent_id,
            metadata=metadata,
        )

    async def update_worktree(
        self,
        *,
        worktree_id: UUID | None = None,
        path: str | None = None,
        name: str | None = None,
        branch_name: str | None = None,
        new_path: str | None = None,
        type_name: str | None = None,
        metadata: dict[str, Any] | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Change what is given of a worktree, named by id or path; metadata is merged. Returns its id."""
        return await self._id(
            "worktree_id",
            "worktree.update",
            sending,
            worktree_id=worktree_id,
            path=path,
            name=name,
            branch_name=branch_name,
            new_path=new_path,
            type_name=type_name,
            metadata=metadata,
        )

    async def update_git_state(
        self,
        *,
        worktree_id: UUID | None = None,
        path: str | None = None,
        has_uncommitted: bool | None = None,
        uncommitted_count: int | None = None,
        ahead: int | None = None,
        behind: int | None = None,
        last_commit_hash: str | None = None,
        last_commit_message: str | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Store what git says about a worktree, named by id or path; None keeps a value. Returns its id.

        An empty `last_commit_hash` says that there is no commit, as on a new branch without history.
        """
        return await self._id(
            "worktree_id",
            "worktree.update_git_state",
            sending,
            worktree_id=worktree_id,
            path=path,
            has_uncommitted=has_uncommitted,
            uncommitted_count=uncommitted_count,
            ahead=ahead,
            behind=behind,
            last_commit_hash=last_commit_hash,
            last_commit_message=last_commit_message,
        )

    async def claim_worktree(
        self,
        *,
        agent_id: str,
        worktree_id: UUID | None = None,
        path: str | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Claim a worktree, named by id or path, for an agent; `Conflict` when another one holds it. Returns its id."""
        return await self._id(
            "worktree_id",
            "worktree.claim",
            sending,
            agent_id=agent_id,
            worktree_id=worktree_id,
            path=path,
        )

    async def release_worktree(
        self,
        *,
        worktree_id: UUID | None = None,
        path: str | None = None,
        agent_id: str | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Release a worktree, named by id or path; with `agent_id` it is a `Conflict` when another agent holds it."""
        return await self._id(
            "worktree_id", "worktree.release", sending, worktree_id=worktree_id, path=path, agent_id=agent_id
        )

    async def merge_worktree(
        self,
        *,
        merged_by: str,
        merge_commit_hash: str,
        worktree_id: UUID | None = None,
        path: str | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Record the merge of a worktree, named by id or path, which deactivates it. Returns its id."""
        return await self._id(
            "worktree_id",
            "worktree.merge",
            sending,
            merged_by=merged_by,
            merge_commit_hash=merge_commit_hash,
            worktree_id=worktree_id,
            path=path,
        )

    async def remove_worktree(
        self,
        *,
        worktree_id: UUID | None = None,
        path: str | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Deactivate a worktree, named by id or path. Returns its id."""
        return await self._id("worktree_id", "worktree.remove", sending, worktree_id=worktree_id, path=path)

    async def add_worktree_type(
        self,
        *,
        name: str,
        branch_prefix: str | None = None,
        worktree_prefix: str | None = None,
        description: str | None = None,
        color: str | None = None,
        icon: str | None = None,
        metadata: dict[str, Any] | None = None,
        sending: Sending = PLAIN,
    ) -> int:
        """Id of the worktree type of this name, added when there is none."""
        result = await self._send(
            "worktree_type.add",
            sending,
            name=name,
            branch_prefix=branch_prefix,
            worktree_prefix=worktree_prefix,
            description=description,
            color=color,
            icon=icon,
            metadata=metadata,
        )
        return int(result["type_id"])

    async def remove_worktree_type(self, *, name: str, sending: Sending = PLAIN) -> None:
        """Remove a worktree type that is not built in and that no worktree has."""
        await self._send("worktree_type.remove", sending, name=name)

    async def log_activity(
        self,
        *,
        agent_id: str,
        activity_type: str,
        description: str,
        worktree_id: UUID | None = None,
        path: str | None = None,
        file_path: str | None = None,
        metadata: dict[str, Any] | None = None,
        sending: Sending = PLAIN,
    ) -> UUID:
        """Append to the audit log of a worktree, named by id or path. Returns the id of the entry."""
        return await self._id(
            "activity_id",
            "activity.log",
            sending,
            agent_id=agent_id,
            activity_type=activity_type,
            description=description,
            worktree_id=worktree_id,
            path=path,
            file_path=file_path,
            metadata=metadata,
        )

    async def _id(self, key: str, command: str, sending: Sending, /, **data: Any) -> UUID:
        return UUID((await self._send(command, sending, **data))[key])

    async def _send(self, command: str, sending: Sending, /, **data: Any) -> dict[str, Any]:
        """The result of a command whose fields are None where they were not given."""
        given = {field: value for field, value in data.items() if value is not None}
        if self._host is not None and "host" in commands.COMMANDS[command].model_fields:
            given["host"] = self._host
        outcome = await self.send(command, given, sending)
        if outcome.code is not None:
            raise outcome_error(outcome.code, outcome.message)
        return outcome.result or {}
