"""The command line as people use it on a registry: projects, worktrees, types, activities, questions, housekeeping."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.support.commandline import CommandLine, command_line
from tests.support.git.repositories import checkout, commit, git, linked

ORIGIN = "git@github.com:ada/engine.git"


@pytest.fixture
def cli(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys, DATABASE_URL=database)


@pytest.fixture
def engine(cli: CommandLine, tmp_path: Path) -> Path:
    """A registered project with a registered worktree, as real work trees: returns the linked one."""
    main = checkout(tmp_path / "engine" / "trunk-main", "https://github.com/Ada/Engine.git")
    feature = linked(main, tmp_path / "engine" / "feat-search", "feat/search")
    assert cli("project", "register", main).code == 0
    assert cli("worktree", "register", feature).code == 0
    return feature


@pytest.fixture
def registered(database: str) -> None:
    """The rows of such a project and worktree, with nothing on disk."""
    with psycopg.connect(database) as conn:
        conn.execute(
            "SELECT register_worktree(register_project('Engine', %s), 'feat', 'feat-search', 'feat/search', '/x/feat')",
            (ORIGIN,),
        )


def events(database: str) -> list[tuple[str, str, str | None]]:
    with psycopg.connect(database) as conn:
        return conn.execute("SELECT entity, action, actor FROM outbox ORDER BY id").fetchall()


def test_a_project_is_registered_from_its_checkout(cli: CommandLine, tmp_path: Path) -> None:
    # given a linked work tree of a repository whose default branch is not main
    main = checkout(tmp_path / "engine" / "trunk-develop", "https://github.com/Ada/Engine", branch="develop")
    feature = linked(main, tmp_path / "engine" / "feat-x", "feat/x")
    # when
    project = cli("project", "register", feature, "--metadata", '{"team": "core"}', "--json").json
    # then
    assert (project["name"], project["remote_origin"]) == ("Engine", ORIGIN)
    assert (project["default_branch"], project["trunk_path"]) == ("develop", str(main))
    assert (project["active"], project["metadata"]) == (True, {"team": "core"})


@pytest.mark.parametrize(
    ("option", "code", "told"),
    [
        ("--origin", 2, "--origin: is blank"),
        ("--name", 2, "p_name"),
        ("--branch", 2, "p_default_branch"),
        ("--trunk-path", 2, "p_trunk_path"),
    ],
)
def test_a_blank_that_was_given_is_refused_by_its_own_name(cli: CommandLine, option: str, code: int, told: str) -> None:
    origin = [] if option == "--origin" else ["--origin", ORIGIN]
    refused = cli("project", "register", *origin, option, " ")
    assert refused.code == code
    assert told in refused.err


@pytest.mark.parametrize(
    "origin", ["https://github.com/Ada/engine", "ssh://git@github.com/ada/engine.git", "git@github.com:ADA/ENGINE"]
)
def test_a_project_is_registered_once_whatever_the_form_of_its_origin(
    cli: CommandLine, database: str, origin: str
) -> None:
    first = cli("project", "register", "--name", "engine", "--origin", ORIGIN, "--json").json
    again = cli("project", "register", "--name", "engine", "--origin", origin, "--json").json
    assert again == first
    assert [row[:2] for row in events(database)] == [("project", "registered")]
    said = cli("project", "register", "--name", "engine", "--origin", origin).out
    assert said == f"unchanged engine ({ORIGIN}) {first['id']}\n"


def test_a_given_origin_is_not_mixed_with_the_checkout_that_is_here(cli: CommandLine, tmp_path: Path) -> None:
    checkout(tmp_path / "other", "git@github.com:ada/other.git", branch="develop")
    project = cli("project", "register", "--origin", "https://github.com/ada/motor", "--json").json
    assert (project["name"], project["default_branch"]) == ("motor", "main")
    assert project["trunk_path"].endswith("/code/motor/trunk-main")


def test_projects_are_shown_listed_updated_and_deactivated(cli: CommandLine, engine: Path) -> None:
    (listed,) = cli("project", "list", "--json").json
    assert cli("project", "show", "Engine", "--json").json == listed
    updated = cli("project", "update", "Engine", "--name", "motor", "--description", "Großer Motor", "--json").json
    assert (updated["name"], updated["description"]) == ("motor", "Großer Motor")
    shown = cli("project", "show", "motor").out
    assert "Großer Motor" in shown
    assert "feat-search" in shown
    assert cli("project", "deactivate", "motor", "--yes").out == "deactivated motor\n"
    assert cli("project", "deactivate", "motor", "--yes").out == "motor was inactive already\n"
    assert cli("project", "list", "--json").json == []
    assert [one["active"] for one in cli("project", "list", "--all", "--json").json] == [False]


def test_a_project_is_meant_by_name_origin_id_and_folder(cli: CommandLine, engine: Path) -> None:
    project = cli("project", "show", "Engine", "--json").json
    for reference in (ORIGIN, "https://github.com/ada/engine", project["id"], project["id"][:8], str(engine)):
        assert cli("project", "show", reference, "--json").json == project, reference


def test_a_worktree_is_meant_by_name_path_folder_and_id(
    cli: CommandLine, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worktree = cli("worktree", "show", "feat-search", "--json").json
    (engine / "src").mkdir()
    for reference in (
        f"{engine}/src",
        "feat-search@Engine",
        f"feat-search@{ORIGIN}",
        worktree["id"][:9],
    ):
        assert cli("worktree", "show", reference, "--json").json == worktree, reference
    monkeypatch.chdir(engine / "src")
    assert cli("worktree", "show", "--json").json == worktree


def test_a_worktree_lives_from_registration_to_merge(cli: CommandLine, engine: Path, database: str) -> None:
    worktree = cli("worktree", "show", engine, "--json").json
    assert (worktree["type_name"], worktree["branch_name"], worktree["path"]) == ("feat", "feat/search", str(engine))
    # when
    assert cli("worktree", "claim", "feat-search", "--agent", "ada", "--json").json["agent_id"] == "ada"
    # then
    refused = cli("worktree", "claim", "feat-search", "--agent", "bob")
    assert refused.code == 1
    assert 'is held by agent "ada"' in refused.err
    assert cli("worktree", "release", "feat-search", "--agent", "bob").code == 1
    assert cli("worktree", "release", "feat-search", "--json").json["agent_id"] is None
    # when
    merged = cli("worktree", "merge", "feat-search", "deadbeef", "--by", "ada", "--json").json
    # then
    assert (merged["merged_by"], merged["merge_commit_hash"], merged["active"]) == ("ada", "deadbeef", False)
    assert cli("worktree", "list", "--json").json == []
    assert [one["name"] for one in cli("worktree", "list", "--all", "--json").json] == ["feat-search"]
    assert [row[:2] for row in events(database)] == [
        ("project", "registered"),
        ("worktree", "created"),
        ("worktree", "claimed"),
        ("worktree", "released"),
        ("worktree", "merged"),
    ]


def test_the_git_state_is_what_git_says(cli: CommandLine, engine: Path) -> None:
    # given two commits ahead, one behind, three files not committed (one of them in a new folder)
    commit(engine, "One")
    last = commit(engine, "Grüße")
    commit(engine.parent / "trunk-main", "Trunk")
    (engine / "new").mkdir()
    for name in ("new/a", "b", "0.txt"):
        (engine / name).write_text("changed")
    # when
    state = cli("worktree", "git-state", "--sync", engine, "--json").json
    # then
    assert (state["uncommitted_files_count"], state["ahead_of_trunk"], state["behind_trunk"]) == (3, 2, 1)
    assert (state["last_commit_hash"], state["last_commit_message"]) == (last, "Grüße")
    assert state["status"] == "uncommitted"
    # when
    given = cli("worktree", "git-state", "feat-search", "--uncommitted", 0, "--ahead", 5, "--json").json
    # then
    assert (given["status"], given["ahead_of_trunk"], given["last_commit_hash"]) == ("diverged", 5, last)


def test_a_worktree_can_be_registered_before_it_is_there(cli: CommandLine, engine: Path) -> None:
    arguments = ("--project", "Engine", "--branch", "pr-review/7", "--agent", "ada", "--json")
    worktree = cli("worktree", "register", "/nowhere/pr-7", *arguments).json
    assert (worktree["name"], worktree["type_name"], worktree["agent_id"]) == ("pr-7", "review", "ada")
    assert cli("worktree", "remove", "pr-7", "--yes", "--json").json["active"] is False


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


def test_a_project_that_was_put_away_comes_back_as_it_was(cli: CommandLine, engine: Path, database: str) -> None:
    # given a name that is no directory's
    cli("project", "update", "Engine", "--name", "ada/engine", "--description", "Big")
    before = cli("project", "show", "ada/engine", "--json").json
    cli("project", "deactivate", "ada/engine", "--yes")
    # when
    assert cli("project", "activate", "ada/engine").out == "activated ada/engine\n"
    # then
    assert cli("project", "show", before["id"], "--json").json == before | {
        "updated_at": cli("project", "list", "--json").json[0]["updated_at"]
    }
    assert events(database)[-1][:2] == ("project", "reactivated")
    assert cli("worktree", "list", "--json").json == []
    assert cli("project", "activate", before["id"]).out == "ada/engine was active already\n"


def test_activities(cli: CommandLine, engine: Path) -> None:
    logged = cli(
        "activity",
        "log",
        "modified",
        "Fuzzy",
        "--worktree",
        engine,
        "--agent",
        "ada",
        "--file",
        "a.py",
        "--metadata",
        "{}",
    )
    assert cli("activity", "log", "other", "Looked", "--worktree", "feat-search").code == 0
    newest, oldest = cli("activity", "list", "--json").json
    assert UUID(logged.out.strip()) == UUID(oldest["id"])
    assert (oldest["agent_id"], oldest["file_path"], oldest["project_name"]) == ("ada", "a.py", "Engine")
    assert newest["agent_id"] == getpass.getuser()
    assert [one["id"] for one in cli("activity", "list", "--agent", "ada", "--json").json] == [oldest["id"]]
    assert len(cli("activity", "list", "--limit", 1, "--project", "Engine", "--json").json) == 1
    assert "feat-search@Engine" in cli("activity", "list", "--worktree", "feat-search").out


def test_questions_about_the_registry(cli: CommandLine, engine: Path) -> None:
    cli("worktree", "git-state", "feat-search", "--uncommitted", 2)
    (work,) = cli("inflight", "--json").json
    assert (work["worktree_name"], work["status"], work["uncommitted_count"]) == ("feat-search", "uncommitted", 2)
    assert cli("inflight", "--project", "Engine", "--json").json == [work]
    assert "±2" in cli("inflight").out
    (match,) = cli("search", "engin", "--json").json
    assert match["name"] == "Engine"
    assert "nothing like" in cli("search", "zzzz").out
    assert cli("stats", "--json").json["in_flight_worktrees"] == 1
    assert "1 active, 1 in all" in cli("stats").out
    assert cli("path", "Engine").out == f"{engine.parent / 'trunk-main'}\n"
    assert cli("path", "Engine", "feat/new").out == f"{engine.parent / 'feat-new'}\n"


def test_one_thing_has_one_set_of_keys_in_events_lists_and_queries(
    cli: CommandLine, engine: Path, database: str
) -> None:
    # given what the events say of each thing
    cli("worktree", "git-state", "feat-search", "--uncommitted", 2, "--ahead", 1)
    cli("type", "add", "docs")
    cli("activity", "log", "other", "Looked", "--worktree", engine)
    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT entity, data FROM outbox ORDER BY id").fetchall()
    not_shown = {"changed", "remote_origin"}  # of a worktree, the second is its project's
    told = {
        entity: {key: value for key, value in data.items() if key not in not_shown and not key.endswith("_at")}
        for entity, data in rows
    }
    whole = {
        "project": [cli("project", "show", "Engine", "--json").json, *cli("project", "list", "--json").json],
        "worktree": [cli("worktree", "show", engine, "--json").json, *cli("worktree", "list", "--json").json],
        "worktree_type": cli("type", "list", "--json").json[-1:],
        "activity": cli("activity", "list", "--json").json,
    }
    partly = {"project": cli("search", "Engine", "--json").json, "worktree": cli("inflight", "--json").json}
    # then all of it has the same name and value wherever it is shown
    for entity, shown in whole.items():
        for row in shown:
            assert {key: row.get(key) for key in told[entity]} == told[entity]
    for entity, least in (
        ("project", {"project_id", "project_name", "name", "trunk_path"}),
        (
            "worktree",
            {"worktree_id", "project_id", "project_name", "name", "branch_name", "agent_id", "status"}
            | {"uncommitted_files_count", "ahead_of_trunk", "behind_trunk"},
        ),
    ):
        (row,) = partly[entity]
        assert least <= row.keys()
        assert {key: row[key] for key in least} == {key: told[entity][key] for key in least}


def test_housekeeping(cli: CommandLine, engine: Path, database: str) -> None:
    cli("activity", "log", "other", "Looked", "--worktree", engine)
    cli("worktree", "remove", engine, "--yes")
    assert "vacuumed projects\n" in cli("maintain", "vacuum").out
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT reltuples FROM pg_class WHERE relname = 'projects'").fetchone() == (1,)
    assert cli("maintain", "prune-worktrees", "--yes").out == "deleted 0 worktrees\n"
    assert cli("maintain", "prune-worktrees", "--days", 0, "--yes").out == "deleted 1 worktrees\n"
    assert cli("maintain", "cleanup-activities", "--days", 0, "--yes").out == "removed 1 activities\n"


@pytest.mark.parametrize(
    "command",
    [
        ["project", "deactivate", "Engine"],
        ["worktree", "remove", "feat-search"],
        ["type", "remove", "docs"],
        ["maintain", "prune-worktrees", "--days", "0"],
        ["maintain", "cleanup-activities", "--days", "0"],
    ],
)
def test_nothing_is_destroyed_unless_confirmed(
    cli: CommandLine, registered: None, database: str, command: list[str]
) -> None:
    # given something for each command to destroy
    cli("type", "add", "docs")
    cli("worktree", "register", "/nowhere/old", "--project", "Engine", "--branch", "fix/old")
    cli("activity", "log", "other", "Looked", "--worktree", "old")
    cli("worktree", "remove", "old", "--yes")
    before = events(database)
    tables = ("projects", "worktrees", "worktree_types", "agent_activities")

    def counts() -> list[object]:
        with psycopg.connect(database) as conn:
            return [conn.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]  # noqa: S608

    rows = counts()
    # when
    for answer, said in (
        ("n\n", "not confirmed, nothing was done\n"),
        ("", "There is no terminal to ask at; give --yes\n"),
    ):
        refused = cli(*command, stdin=answer)
        assert refused.code == 1
        assert refused.err.endswith(said)
    # then
    assert (events(database), counts()) == (before, rows)
    # when
    assert cli(*command, stdin="y\n").code == 0
    # then
    assert (events(database), counts()) != (before, rows)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["project", "register", "/nowhere"], 1, '"/nowhere": cannot change to'),
        (
            ["project", "register", "--origin", "https://gitlab.com/a/b"],
            2,
            'p_remote_origin "https://gitlab.com/a/b" is not',
        ),
        (["project", "register", "--origin", ORIGIN, "--metadata", "{"], 2, "--metadata '{': is not JSON"),
        (["project", "register", "--origin", ORIGIN, "--metadata", "[" * 20_000], 2, "is nested too deep"),
        (
            ["project", "register", "--origin", ORIGIN, "--metadata", "[1]"],
            2,
            "--metadata '[1]': must be a JSON object",
        ),
        *[
            (["project", "register", "--origin", ORIGIN, "--metadata", metadata], 2, message)
            for metadata, message in (
                ('{"a": NaN}', "--metadata '{\"a\": NaN}': is not JSON: NaN is no number in JSON"),
                ('{"a": -Infinity}', "-Infinity is no number in JSON"),
                ('{"a": [1e999]}', "a number in it is too large"),
                ('{"a": ["\\u0000"]}', "has a NUL or half of a surrogate pair"),
                ('{"\\u0000": 1}', "has a NUL or half of a surrogate pair"),
                ('{"a": "\\ud800"}', "has a NUL or half of a surrogate pair"),
            )
        ],
        (["project", "update", "Engine"], 2, "nothing to update: give --name, --branch"),
        (["type", "update", "fix"], 2, "nothing to update: give --name, --branch-prefix"),
        (["type", "update", "nope", "--icon", "x"], 1, 'p_name "nope" is no worktree type; there are feat, fix'),
        (["type", "update", "fix", "--name", "feat"], 1, 'p_new_name "feat" is taken by another worktree type'),
        (["type", "update", "fix", "--name", "repair"], 1, "only description, color, icon and metadata may change"),
        (["type", "update", "fix", "--color", "blurple"], 2, 'p_color is "blurple"'),
        (["project", "activate", "Engin"], 1, 'no project "Engin"; did you mean "Engine"?'),
        (["worktree", "update", "feat-search"], 2, "nothing to update: give --name, --branch"),
        (["activity", "list", "--limit", "9" * 20], 2, "less than or equal to 2147483647"),
        (["project", "register", "--origin", ORIGIN, "--name", " "], 2, 'p_name is " "; it must not be blank'),
        (["project", "show", "Engin"], 1, 'no project "Engin"; did you mean "Engine"?'),
        (["project", "show", ""], 1, 'no project ""'),
        (["project", "show", "https://u:s3cret@gitlab.com/o/r"], 1, 'no project "https://gitlab.com/o/r"'),
        (["project", "show", "https://u:pa/s3cret@gitlab.com/o/r"], 1, 'no project "https://gitlab.com/o/r"'),
        (["worktree", "claim", "feat-search", "--agent", ""], 2, 'agent or actor "": it must not be blank'),
        (["worktree", "merge", "feat-search", "abc1", "--by", ""], 2, 'agent or actor "": it must not be blank'),
        (
            ["activity", "log", "other", "x", "--worktree", "feat-search", "--agent", " "],
            2,
            'agent or actor " ": it must not be blank',
        ),
        (["worktree", "remove", "feat-search", "--yes", "--actor", ""], 2, 'agent or actor "": it must not be'),
        (["project", "show", "/nowhere"], 1, '"/nowhere" is no checkout of a registered project'),
        (["worktree", "show", "feat-serch"], 1, 'no worktree "feat-serch"; did you mean "feat-search"?'),
        (["worktree", "show", "feat-serch@Engine"], 1, 'did you mean "feat-search"?'),
        (["worktree", "show", "feat-search@Engin"], 1, 'no project "Engin"; did you mean "Engine"?'),
        (["worktree", "show", "/nowhere"], 1, '"/nowhere" is in no registered worktree; run: imi-registry worktree'),
        (["worktree", "update", "feat-search", "--path", ""], 2, 'p_path is ""; it must not be blank'),
        (["worktree", "update", "feat-search", "--type", "nope"], 1, 'p_type_name "nope" is no worktree type'),
        (["worktree", "merge", "feat-search", " "], 2, "p_merge_commit_hash"),
        (["worktree", "git-state", "feat-search"], 2, "give either --sync, or what is to be stored"),
        (["worktree", "git-state", "feat-search", "--ahead", "-1"], 2, "greater than or equal to 0"),
        (["type", "remove", "feat", "--yes"], 1, "it is built in"),
        (["type", "add", "feat", "--branch-prefix", "x/"], 1, "is taken by a type with the prefixes"),
        (["activity", "log", "danced", "x", "--worktree", "feat-search"], 2, 'p_activity_type "danced" is no'),
        (["search", " "], 2, "p_query"),
        (["path", "Engine", "../x"], 2, 'p_worktree_name "../x" is no worktree name'),
        (["projet", "list"], 2, "Did you mean 'project'"),
        (["project", "lst"], 2, "Did you mean 'list'"),
    ],
)
def test_mistakes_get_one_clear_line(
    cli: CommandLine, registered: None, arguments: list[str], code: int, message: str
) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    if done.err.startswith("imi-registry:"):
        assert len(done.err.splitlines()) == 1
    else:
        assert code == 2


def test_what_could_be_several_is_not_guessed(cli: CommandLine, registered: None) -> None:
    cli("project", "register", "--origin", "git@github.com:bob/engine.git", "--name", "Engine")
    done = cli("project", "show", "Engine")
    assert done.code == 1
    assert "git@github.com:ada/engine.git" in done.err
    assert "git@github.com:bob/engine.git" in done.err


@pytest.mark.parametrize("arguments", [["project", "register"], ["worktree", "register"]])
def test_a_checkout_that_names_no_project_is_refused(cli: CommandLine, tmp_path: Path, arguments: list[str]) -> None:
    folder = checkout(tmp_path / "local only")
    done = cli(*arguments, folder)
    assert done.code == 1
    assert done.err.startswith(f'imi-registry: "{folder}": has no remote "origin"; give --')


def test_a_detached_head_needs_a_branch(cli: CommandLine, engine: Path) -> None:
    git(engine, "checkout", "--quiet", "--detach")
    done = cli("worktree", "register", engine)
    assert done.code == 1
    assert "its HEAD is detached; give --branch" in done.err


def test_events_name_the_actor(
    cli: CommandLine, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli("project", "register", "--origin", "git@github.com:ada/one.git")
    cli("project", "register", "--origin", "git@github.com:ada/two.git", "--actor", "ada")
    monkeypatch.setenv("IMI_ACTOR", "bob")
    cli("project", "register", "--origin", "git@github.com:ada/three.git")
    assert [actor for _, _, actor in events(database)] == [getpass.getuser(), "ada", "bob"]


def test_without_a_url_the_registry_of_a_running_up_is_used(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # given
    (tmp_path / "endpoints.json").write_text(json.dumps({"database_url": database, "nats_url": "nats://x"}))
    cli = command_line(monkeypatch, capsys, IMI_STATE_DIR=str(tmp_path))
    # then
    assert cli("stats", "--json").json["total_projects"] == 0
    # when
    (tmp_path / "endpoints.json").write_text("{")
    # then
    done = cli("stats")
    assert (done.code, done.err.splitlines()) == (
        1,
        [f'imi-registry: "{tmp_path / "endpoints.json"}" is not what imi-registry up writes; start it anew'],
    )


@pytest.mark.parametrize(
    "command",
    [
        ["doctor", "--nats-url", "nats://127.0.0.1:1"],
        ["history", "verify"],
        ["history", "show", "project", "00000000-0000-4000-8000-000000000001"],
        ["events", "export", "-"],
        ["stats"],
    ],
)
def test_a_database_without_the_schema_is_named(cli: CommandLine, database: str, command: list[str]) -> None:
    assert cli("migrate", "rollback", "--yes").code == 0
    done = cli(*command)
    assert (done.code, done.out) == (1, "")
    assert "has no registry schema" in done.err
    assert "run: imi-registry migrate" in done.err


def test_a_database_that_is_down_exits_with_3(cli: CommandLine) -> None:
    done = cli("stats", "--database-url", "postgresql://127.0.0.1:1/x")
    assert done.code == 3
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["project", "worktree", "activity", "type"])
def test_tables_fit_80_columns(cli: CommandLine, command: str) -> None:
    # given long values
    long = "a-rather-long-name-of-a-thing-that-does-not-fit-into-a-narrow-column"
    path = f"/home/ada/code/{long}/trunk-main"
    cli("project", "register", "--origin", f"git@github.com:ada/{long}.git", "--trunk-path", path)
    cli(
        "worktree",
        "register",
        f"/home/ada/code/{long}",
        "--project",
        long,
        "--branch",
        f"feat/{long}",
        "--agent",
        "ada",
    )
    cli("activity", "log", "other", long, "--worktree", f"{long}@{long}", "--file", path)
    cli("type", "add", "docs", "--description", long)
    # when
    out = cli(command, "list").out
    # then
    assert len(out.splitlines()) > 4
    assert max(len(line) for line in out.splitlines()) <= 80


def test_completion_knows_the_commands(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_IMI_REGISTRY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "imi-registry work")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert cli().out.split() == ["worktree"]
