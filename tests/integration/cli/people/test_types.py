"""Types of worktrees on the command line."""

from __future__ import annotations

from tests.support.commandline import CommandLine
from tests.support.outbox_reader import events


def test_types(cli: CommandLine) -> None:
    added = cli("type", "add", "docs", "--description", "Words", "--color", "#ffffff", "--json").json
    assert (added["branch_prefix"], added["worktree_prefix"], added["is_builtin"]) == ("docs/", "docs-", False)
    assert [one["name"] for one in cli("type", "list", "--json").json][-1] == "docs"
    assert "Words" in cli("type", "list").out
    assert cli("type", "remove", "docs", "--yes").out == "removed type docs\n"


def test_a_type_is_changed_as_far_as_it_is_given(cli: CommandLine, database: str) -> None:
    # given
    cli("type", "add", "docs", "--description", "Words", "--metadata", '{"a": 1, "b": 1}')
    # when
    options = ("--name", "words", "--branch-prefix", "w/", "--color", "#ffffff", "--metadata", '{"b": 2}')
    changed = cli("type", "update", "docs", *options, "--json").json
    # then
    assert (changed["name"], changed["branch_prefix"], changed["worktree_prefix"]) == ("words", "w/", "docs-")
    assert (changed["description"], changed["color"], changed["metadata"]) == ("Words", "#ffffff", {"a": 1, "b": 2})
    assert events(database)[-1][:2] == ("worktree_type", "updated")
    # when it is the same again, and a built-in one keeps its name and prefixes
    before = events(database)
    assert cli("type", "update", "words", "--color", "#ffffff").out == "type words: w/… in docs-…\n"
    assert cli("type", "update", "feat", "--name", "feat").code == 0
    assert events(database) == before
    assert cli("type", "update", "feat", "--description", "New", "--json").json["description"] == "New"
