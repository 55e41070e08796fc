"""A row of a snapshot is read as every row is, though not always by the same reader."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import exact
from registry.errors import RegistryError
from registry.history.snapshot import WORKTREE, Snapshot
from registry.models import Worktree
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


def test_a_row_among_others_is_the_row_that_the_model_reads() -> None:
    texts = [plain(1), plain(2)]
    snapshot = Snapshot()

    snapshot.put_lines(texts)

    assert list(snapshot.worktrees.values()) == [Worktree.model_validate_json(text[1:]) for text in texts]


@pytest.mark.parametrize("bad", [plain(1) + b"," + plain(2)[1:], b"w", b"w[]"], ids=["two rows", "none", "a list"])
def test_a_line_among_others_that_is_not_one_row_is_refused(bad: bytes) -> None:
    with pytest.raises(RegistryError, match="none that this version knows"):
        Snapshot().put_lines([plain(3), bad, plain(4)])
