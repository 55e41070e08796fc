"""Under which name and type a work tree is registered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from publisher.checkouts.git import Linked
from publisher.checkouts.presence import Here, Seen, presence, was_retired
from registry.models import DEFAULT_HOST, Worktree, WorktreeType

FALLBACK_TYPE = "feat"


def type_of(types: Sequence[WorktreeType], folder_name: str, branch: str, default_branch: str) -> str:
    """The type of a worktree: trunk, or the one with the longest prefix that its branch, else its folder, has."""
    if branch == default_branch:
        return "trunk"
    for prefix, value in (("branch_prefix", branch), ("worktree_prefix", folder_name)):
        fitting = [one for one in types if getattr(one, prefix) and value.startswith(getattr(one, prefix))]
        if fitting:
            return max(fitting, key=lambda one: len(getattr(one, prefix))).name
    return FALLBACK_TYPE


def name_of(linked: Linked, known: Sequence[Worktree], paths: set[str], here: Here) -> tuple[str, str]:
    """The name under which a work tree is registered, and why it is not: "" when it is.

    That is the name of its folder, with those of the folders it is in as far as another worktree has that name already,
    or it is blank.
    `known` are the worktrees of its project, active or not, `paths` those of its repository. A name that a worktree of
    another host has is free on a host that is named, since the database tells them apart, and else taken.
    """
    if linked.branch is None:
        return "", "HEAD is detached"
    names = {here.called(one): one for one in known if here.host is None or not here.is_elsewhere(one)}
    parts = linked.path.parts[1:]
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[-depth:])
        if not name.strip():
            continue
        taken = names.get(name)
        if taken is None:
            return name, ""
        if taken.host_id not in (here.host_id, DEFAULT_HOST):
            continue
        if not taken.active:
            return name, _reason_to_leave(taken, linked.branch)
        if here.is_elsewhere(taken) or taken.path in paths:
            continue
        try:
            found = presence(Path(taken.path), Seen.before(taken))
        except OSError:  # no right to look: it may be there
            continue
        if found == "there":
            return name, f'name "{taken.name}" is that of {taken.path}'
        if found == "gone":
            return name, ""
    return "", f'every name that "{linked.path}" could have is taken'


def _reason_to_leave(taken: Worktree, branch: str) -> str:
    """Why a work tree is not brought back: people put it away, and the same work is checked out."""
    if taken.branch_name != branch:
        return ""
    if taken.merged_at is not None:
        return "merged"
    return "" if was_retired(taken) else "removed"
