"""What the tests of this room have in common: a project and a worktree."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.support.schema.rows import ORIGIN, scalar


@pytest.fixture
def project(db) -> UUID:
    return scalar(db, "SELECT register_project('my-project', %s, 'main', '/code/my-project/trunk-main')", ORIGIN)


@pytest.fixture
def worktree(db, project: UUID) -> UUID:
    return scalar(db, "SELECT register_worktree(%s, 'feat', 'feat-auth', 'feat/auth', '/code/feat-auth')", project)
