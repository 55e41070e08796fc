"""Of which commit results are that pages tell: asked before anything is measured, of a checkout without changes.

What recording results writes, pages and the figures in them, is no change: one may be recorded after the other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from docs.figures import PLACES

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = ["docs", *(place for place in PLACES if not place.startswith("docs/"))]
"""What recording changes; nothing of it is measured."""
DIRTY = "-dirty"
MOST_NAMED = 5


def checked_out(root: Path = ROOT) -> str:
    """The commit, with `DIRTY` behind it where tracked files differ from it; "unknown" outside of a checkout."""
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit}{DIRTY}" if _changed(root) else commit


def to_be_recorded(root: Path = ROOT) -> str:
    """The same, for results that are to be recorded. Ends the program where tracked files differ from the commit."""
    commit = checked_out(root)
    if commit.endswith(DIRTY):
        changed = _changed(root)
        more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        raise SystemExit(
            f"nothing is recorded of files that differ from commit {commit.removesuffix(DIRTY)}:"
            f" {', '.join(changed[:MOST_NAMED])}{more}; commit or stash them"
        )
    return commit


def _changed(root: Path) -> list[str]:
    """Tracked files that differ from the commit, staged or not, without those that are `WRITTEN`."""
    excluded = [f":(top,exclude){path}" for path in WRITTEN]
    return _git(root, "diff", "--name-only", "HEAD", "--", ":/", *excluded).splitlines()


def _git(root: Path, *arguments: str) -> str:
    asked = ["git", "-C", str(root), *arguments]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
