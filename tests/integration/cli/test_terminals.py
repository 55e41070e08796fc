"""What people see on real terminals of every width, in every encoding and zone, and with names of every script."""

from __future__ import annotations

import re
from collections import Counter

import psycopg
import pytest
from rich.cells import cell_len

from tests.support.cli.terminals import ESCAPE, on_terminal
from tests.support.commandline import command_line

NAMES = {
    "wide": "設計エンジン検索機能",
    "emoji": "🚀-launch-👩‍🚀",
    "right to left": "מנוע-חיפוש",
    "combining": "e\u0301ngine",
    "long": "a-name-of-a-thing-that-is-much-longer-than-a-narrow-terminal-is-wide",
    "plain": "engine",
}
SHOWN = [
    ["project", "list"],
    ["project", "show", "{}"],
    ["worktree", "list"],
    ["worktree", "show", "feat-{}"],
    ["activity", "list"],
    ["inflight"],
    ["type", "list"],
    ["search", "{}"],
]
"""Each shows the name. A name in {}."""


def letters(text: str) -> str:
    """What of a text was not put there by a table: a name that is folded is in one piece again."""
    return re.sub(r"[\s─]", "", ESCAPE.sub("", text))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, database: str) -> str:
    """The name of a project, and of its worktree, with something in flight."""
    chosen = NAMES[request.param]
    with psycopg.connect(database) as conn:
        conn.execute(
            "SELECT log_activity('ada', worktree, 'other', 'Looked'), update_worktree_git_state(worktree, p_ahead => 1)"
            " FROM (SELECT register_worktree(register_project(%s, 'git@github.com:ada/engine.git', 'main', '/x/z'),"
            " 'feat', %s, 'feat/x', '/x/y', 'ada') AS worktree OFFSET 0) AS made",
            [chosen, f"feat-{chosen}"],
        )
        conn.execute("SELECT add_worktree_type(%s, 'n/', 'n-')", [chosen])
    return chosen


@pytest.mark.parametrize("columns", [10, 20, 40, 80, 240])
def test_a_name_of_any_script_is_whole_at_any_width(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, columns: int
) -> None:
    cli = command_line(monkeypatch, capsys, DATABASE_URL=database, COLUMNS=str(columns))
    for words in SHOWN:
        done = cli(*[word.format(name) for word in words])
        assert (done.code, done.err) == (0, "")
        missing = Counter(letters(name)) - Counter(letters(done.out))
        assert not missing, (words, done.out)
        if columns == 240:  # nothing is folded
            assert letters(name) in letters(done.out), (words, done.out)
        widest = max(map(cell_len, done.out.split("\n")))
        assert widest <= columns, (words, done.out)


@pytest.mark.parametrize(
    "variables",
    [
        {"TERM": "dumb"},
        {"NO_COLOR": "1"},
        {"LANG": "C", "LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"TZ": "Nowhere/Nonsense"},
        {"TZ": ""},
        {"TZ": "America/St_Johns"},
        {"COLUMNS": "20"},
        {"COLUMNS": "0"},
        {"COLUMNS": "x"},
        {"COLUMNS": "²"},
        {"COLUMNS": "9" * 12},
        {"TERM": ""},
        {"FORCE_COLOR": "1"},
        {"HOME": "/nowhere"},
    ],
    ids=str,
)
def test_a_terminal_of_any_kind_is_written_to(database: str, variables: dict[str, str]) -> None:
    with psycopg.connect(database) as conn:
        conn.execute(
            "SELECT register_worktree("
            "register_project('Größe', 'git@github.com:a/b.git'), 'feat', 'feat-ü', 'feat/ü', '/x/ü')"
        )
    code, text = on_terminal("worktree", "show", "feat-ü", DATABASE_URL=database, **variables)
    assert code == 0, text
    assert "Traceback" not in text
    assert "feat" in text
    if "NO_COLOR" in variables or variables.get("TERM") == "dumb":
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text)
