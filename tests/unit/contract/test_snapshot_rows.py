"""A row of a snapshot is read as every row is, though not always by the same reader."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
from contextlib import suppress
from types import FrameType
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from registry import exact
from registry.errors import RegistryError
from registry.history.snapshot import PROJECT, WORKTREE, WORKTREE_TYPE, Snapshot
from registry.models import Project, Row, Worktree, WorktreeType
from tests.unit.contract.test_exact import NUMBERS

ID = "b2a7c1de-0f57-4d7e-8a55-5e2f4f4f9c10"
TIME = "2026-01-21T10:00:00.123456+00:00"
ROW: dict[str, Any] = dict.fromkeys(Worktree.model_fields) | {
    "id": ID,
    "project_id": ID,
    "project_name": "imi",
    "type_id": 1,
    "type_name": "feat",
    "name": "feat-login",
    "branch_name": "feat/login",
    "path": "/code/1.5/login",
    "status": "clean",
    "has_uncommitted_changes": False,
    "uncommitted_files_count": 0,
    "ahead_of_trunk": 0,
    "behind_trunk": 0,
    "last_commit_message": 'releases "v":1.5, [2.5 and \\":1e5',
    "created_at": TIME,
    "updated_at": "infinity",
    "active": True,
    "host_id": ID,
    "is_shortened": False,
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8).map(
    lambda text: orjson.dumps(text).decode()
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.sampled_from(["true", "false", "null", "9" * 5000, '"\\ud83d\\ude00"'])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda values: f"[{', '.join(values)}]"),
        st.lists(st.tuples(TEXTS, inner), max_size=4, unique_by=lambda pair: pair[0]).map(
            lambda pairs: f"{{{', '.join(f'{name}: {value}' for name, value in pairs)}}}"
        ),
    ),
    max_leaves=6,
)


def line(metadata: str, **values: object) -> bytes:
    fields = ROW | values | {"metadata": orjson.Fragment(metadata)}
    return WORKTREE + orjson.dumps(fields)


def read(text: bytes) -> Worktree:
    snapshot = Snapshot()
    snapshot.put_line(text)
    (worktree,) = snapshot.worktrees.values()
    return worktree


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(VALUES, st.sampled_from([TIME, "infinity"]))
def test_a_row_has_every_digit_of_its_metadata(value: str, updated_at: str) -> None:
    text = line(f'{{"x": {value}}}', updated_at=updated_at)

    assert repr(read(text)) == repr(Worktree.model_validate(exact.loads(text[1:])))


def test_a_row_without_metadata_is_the_same_row() -> None:
    text = line("{}")

    assert repr(read(text)) == repr(Worktree.model_validate(exact.loads(text[1:])))


@pytest.mark.parametrize(
    "text",
    [
        line("{}", id="no id"),
        line('{"x": NaN}'),
        line("{}")[:-1],
        line('{"x": "\\ud800"}'),
        b"w",
        b"w[]",
        b"w" + b"\xff",
    ],
)
def test_a_line_that_is_no_row_is_refused(text: bytes) -> None:
    with pytest.raises(RegistryError, match="none that this version knows"):
        Snapshot().put_line(text)


@pytest.mark.parametrize("is_collecting", [True, False])
@pytest.mark.parametrize("last", [line("{}"), b"w"], ids=["a row", "no row"])
def test_the_collector_is_as_it_was_when_rows_are_taken(last: bytes, *, is_collecting: bool) -> None:
    before = gc.isenabled()
    (gc.enable if is_collecting else gc.disable)()
    try:
        with suppress(RegistryError):
            Snapshot().put_lines([line("{}"), last])
        assert gc.isenabled() is is_collecting
    finally:
        (gc.enable if before else gc.disable)()


def plain(number: int) -> bytes:
    """A row that is read together with others."""
    return line("{}", id=str(UUID(int=number)), name=f"feat-{number}", updated_at=TIME)


ODD = {
    "a fraction": line('{"x": 1.50}', updated_at=TIME),
    "an integer of thousands of digits": line(f'{{"x": {"9" * 5000}}}', updated_at=TIME),
    "a time before the year 1": line("{}", updated_at="0044-03-15T00:00:00+00:00 BC"),
    "a time after all": line("{}", updated_at="infinity"),
    "a time of a year of five digits": line("{}", updated_at="12345-01-01T00:00:00+00:00"),
}
"""Rows that are not read together with others."""


@pytest.mark.parametrize("odd", list(ODD.values()), ids=list(ODD))
def test_rows_that_come_together_are_the_rows_that_come_alone(odd: bytes) -> None:
    lines = [plain(1), odd, plain(2), plain(3)]
    together, alone = Snapshot(), Snapshot()

    together.put_lines(lines)
    for one in lines:
        alone.put_line(one)

    assert len(together.worktrees) == 4
    assert repr(together.worktrees) == repr(alone.worktrees)


PROJECT_ROW = {
    "id": ID, "name": "imi", "remote_origin": "git@github.com:o/imi.git", "default_branch": "main",
    "trunk_path": "/code", "description": None, "metadata": {}, "created_at": TIME, "updated_at": TIME, "active": True,
}  # fmt: skip
TYPE_ROW = {
    "id": 1, "name": "feat", "branch_prefix": "feat/", "worktree_prefix": "feat-", "description": None,
    "is_builtin": True, "color": None, "icon": "🚀", "metadata": {"a": [1, None, "1.5"]}, "created_at": TIME,
}  # fmt: skip
ROWS: dict[type[Row], tuple[bytes, dict[str, Any]]] = {
    Project: (PROJECT, PROJECT_ROW),
    WorktreeType: (WORKTREE_TYPE, TYPE_ROW),
    Worktree: (WORKTREE, ROW | {"updated_at": TIME, "metadata": {}}),
}


def told(kind: bytes, row: dict[str, Any]) -> bytes:
    return kind + orjson.dumps(row)


@pytest.mark.parametrize("as_older", [False, True], ids=["all fields", "those an older publisher tells"])
@pytest.mark.parametrize("model", list(ROWS))
def test_a_row_among_others_is_the_row_that_the_model_reads(model: type[Row], *, as_older: bool) -> None:
    kind, row = ROWS[model]
    texts = [told(kind, row), told(kind, row | {"id": 2 if model is WorktreeType else str(UUID(int=2))})]
    if as_older:
        new = {name for name, field in model.model_fields.items() if not field.is_required()}
        texts = [
            told(kind, {name: v for name, v in orjson.loads(text[1:]).items() if name not in new}) for text in texts
        ]
    snapshot = Snapshot()

    snapshot.put_lines(texts)

    found = [*snapshot.projects.values(), *snapshot.types.values(), *snapshot.worktrees.values()]
    expected = [model.model_validate_json(text[1:]) for text in texts]
    assert found == expected
    assert repr(found) == repr(expected)
    assert [type(one) for one in found] == [model, model]
    assert [one.model_dump_json() for one in found] == [one.model_dump_json() for one in expected]
    with pytest.raises(ValidationError, match="frozen"):
        found[0].name = "other"  # type: ignore[misc,union-attr]
    assert found[0].model_copy(update={"name": "other", "more": 1}) != found[0]
    assert "more" not in found[1].model_fields_set
    assert copy.deepcopy(found) == pickle.loads(pickle.dumps(found)) == expected  # noqa: S301  # what the test pickled


def test_no_function_of_ours_is_called_for_a_time_of_a_row_among_others() -> None:
    called: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        called.add(frame.f_code.co_name)

    snapshot = Snapshot()
    sys.setprofile(note)
    try:
        snapshot.put_lines([plain(1), plain(2)])
    finally:
        sys.setprofile(None)

    assert "put_worktree" in called
    assert "nearest_time" not in called


@pytest.mark.parametrize("name", Worktree.model_fields)
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, True, 1.5], ids=repr)
def test_what_the_model_refuses_is_refused_among_others(name: str, value: object) -> None:
    changed = line("{}", updated_at=TIME) if name == "metadata" else line("{}", **{"updated_at": TIME, name: value})
    if name == "metadata":
        changed = changed.replace(b'"metadata":{}', b'"metadata":' + orjson.dumps(value))
    texts = [plain(1), changed, plain(2)]
    snapshot = Snapshot()
    try:
        expected = [Worktree.model_validate(exact.loads(text[1:])) for text in texts]
    except ValidationError:
        with pytest.raises(RegistryError, match="none that this version knows"):
            snapshot.put_lines(texts)
    else:
        snapshot.put_lines(texts)
        assert repr(list(snapshot.worktrees.values())) == repr(expected)


@pytest.mark.parametrize("bad", [plain(1) + b"," + plain(2)[1:], b"w", b"w[]"], ids=["two rows", "none", "a list"])
def test_a_line_among_others_that_is_not_one_row_is_refused(bad: bytes) -> None:
    with pytest.raises(RegistryError, match="none that this version knows"):
        Snapshot().put_lines([plain(3), bad, plain(4)])
