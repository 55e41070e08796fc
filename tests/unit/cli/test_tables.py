"""Tables for people: nothing is lost at any width."""

from __future__ import annotations

from uuid import UUID

import pytest
from rich.text import Text

from publisher.cli.terminal.tables import counts, print_table, short_ids, style_of

PATH = "/home/ada/code/a rather long folder/größe/trunk-main"


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_long_value_is_folded_not_cut(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    monkeypatch.setenv("COLUMNS", str(columns))
    # when
    print_table({"path": [PATH], "id": ["12345678"]}, empty="none")
    # then
    rows = capsys.readouterr().out.splitlines()[3:]
    assert max(len(row) for row in rows) <= columns
    shown = "".join(row.replace("12345678", "") for row in rows)
    assert "".join(shown.split()) == "".join(PATH.split())


def test_a_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"path": []}, empty="nothing here")
    assert capsys.readouterr().out == "nothing here\n"


@pytest.mark.parametrize(("columns", "is_whole"), [(80, True), (60, True), (45, False)])
def test_a_time_is_folded_only_where_the_other_columns_need_its_room(
    columns: int, is_whole: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    time, said = "2026-01-21T10:00:00+00", "said in words " * 5
    print_table({"when": [time], "what": ["modified"], "description": [said]}, empty="")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= columns
    assert (time in shown) == is_whole


def test_a_column_without_values_leaves_its_room_to_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "worktree.git_state_updated"
    print_table({"event": [name, name], "redelivery": [Text(), ""], "no.": ["1", ""]}, empty="", dispensable=())
    heads, _, *rows = capsys.readouterr().out.split("\n")[1:]
    assert heads.split() == ["event", "no."]
    assert rows[0].split() == [name, "1"]


def test_a_table_whose_every_value_is_empty_is_still_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"value": [""]}, empty="none")
    assert capsys.readouterr().out.split()[0] == "value"


def test_square_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"path": ["[red]x[/red]"]}, empty="")
    assert "[red]x[/red]" in capsys.readouterr().out


def test_ids_are_as_short_as_they_can_be_told_apart() -> None:
    one, two = UUID("aaaaaaaa-bbbb-4000-8000-000000000001"), UUID("aaaaaaaa-bbbc-4000-8000-000000000001")
    assert short_ids([one]) == ["aaaaaaaa"]
    assert short_ids([one, two]) == ["aaaaaaaa-bbbb", "aaaaaaaa-bbbc"]
    assert short_ids([one, one]) == ["aaaaaaaa", "aaaaaaaa"]
    assert short_ids([]) == []


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (("clean", 0, 0, 0), "clean"),
        (("uncommitted", 3, 2, 1), "±3 ↑2 ↓1"),
        (("behind", 0, 0, 4), "↓4"),
    ],
)
def test_a_state_says_what_there_is_to_do(state: tuple[str, int, int, int], shown: str) -> None:
    assert counts(*state).plain == shown


@pytest.mark.parametrize("color", [None, "", "no colour", "#12"])
def test_what_is_no_colour_is_no_style(color: str | None) -> None:
    assert not style_of(color)
