"""docs/cli.md works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from registry.queries import QUERIES
from tests.support.commandline import command_line
from tests.support.git.repositories import checkout, commit, linked

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def test_every_command_shown_runs(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # given
    cli = command_line(monkeypatch, capsys, DATABASE_URL=database, HOME=str(tmp_path))
    main = checkout(tmp_path / "code" / "engine" / "trunk-main", "git@github.com:ada/engine.git")
    feature = linked(main, tmp_path / "code" / "engine" / "feat-search", "feat/search")
    commit(feature)
    (feature / "new").write_text("x")
    commands = re.findall(r"^\$ imi-registry (.*)$", PAGE, re.MULTILINE)
    assert len(commands) > 25
    # then
    for command in commands:
        arguments = [str(tmp_path) + part[1:] if part.startswith("~") else part for part in shlex.split(command)]
        done = cli(*arguments)
        assert (done.code, done.err) == (0, ""), command
        if command == "inflight":
            assert re.search(r"feat-search +engine +feat/search +±1 ↑1 +ada", done.out)


def test_the_table_of_queries_is_complete() -> None:
    rows = dict(re.findall(r"^\| `imi\.qry\.v1\.(\w+)` \| (?:`(.*?)`)? ?\|", PAGE, re.MULTILINE))
    assert set(rows) == set(QUERIES)
    for query, request in rows.items():
        text = request.replace("…", "00000000-0000-4000-8000-000000000001") or "{}"
        QUERIES[query].request.model_validate_json(text)
        assert set(re.findall(r'"(\w+)":', text)) == set(QUERIES[query].request.model_fields)
