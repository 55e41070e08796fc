"""Results are recorded with the commit that was measured, and of nothing else: files that differ from it are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as benchmarks
from docs import commit
from tests.faults.suite import __main__ as suite
from tests.faults.suite import takeover
from tests.support.fuzz import record
from tests.support.git.repositories import checkout, git

ESTIMATE = "publisher/capacity/estimate.py"
"""Figures are written into it, though it is no page."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with a file that is measured, and those into which recording writes."""
    folder = checkout(tmp_path / "checkout")
    for name in ("publisher/relay.py", "docs/performance.json", "docs/reliability.md", "README.md", ESTIMATE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    return folder


def test_a_checkout_without_changes_is_its_commit_and_outside_of_one_nothing_is_known(root: Path) -> None:
    short = git(root, "rev-parse", "--short", "HEAD")
    assert commit.checked_out(root) == commit.to_be_recorded(root) == short
    assert commit.checked_out(root.parent) == commit.to_be_recorded(root.parent) == "unknown"


@pytest.mark.parametrize("is_staged", [False, True])
def test_files_that_differ_from_the_commit_are_named_before_anything_is_measured(root: Path, is_staged: bool) -> None:
    (root / "publisher/relay.py").write_text("2\n")
    if is_staged:
        git(root, "add", "--all")
    short = git(root, "rev-parse", "--short", "HEAD")

    assert commit.checked_out(root) == f"{short}-dirty"
    with pytest.raises(SystemExit, match=f"differ from commit {short}: publisher/relay.py; commit or stash them$"):
        commit.to_be_recorded(root)


def test_of_many_some_are_named(root: Path) -> None:
    for number in range(7):
        (root / f"{number}.py").write_text("1\n")
    git(root, "add", "--all")
    with pytest.raises(SystemExit, match=r": 0\.py, 1\.py, 2\.py, 3\.py, 4\.py and 2 more; commit"):
        commit.to_be_recorded(root)


def test_what_recording_writes_is_no_change_and_nothing_is_that_git_does_not_know(root: Path) -> None:
    for name in ("docs/performance.json", "docs/reliability.md", "README.md", ESTIMATE):
        (root / name).write_text("2\n")
    (root / "new.py").write_text("1\n")
    assert not commit.checked_out(root).endswith(commit.DIRTY)


def test_what_figures_are_written_into_is_there() -> None:
    assert ESTIMATE in commit.WRITTEN
    assert [name for name in commit.WRITTEN if not (commit.ROOT / name).exists()] == []


def refused(*_: object) -> str:
    raise SystemExit("files differ")


def test_every_program_that_records_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "to_be_recorded", refused)
    monkeypatch.setattr(record, "to_be_recorded", refused)
    monkeypatch.setattr(benchmarks, "to_be_recorded", refused)

    for app in (suite.app, takeover.app):
        asked = CliRunner().invoke(app, ["--record"])
        assert (asked.exit_code, str(asked.exception)) == (1, "files differ")
    with pytest.raises(SystemExit, match="files differ"):
        record.main([])
    with pytest.raises(SystemExit, match="files differ"):
        benchmarks.main(only="drain", quick=False, out=benchmarks.DOCS)
