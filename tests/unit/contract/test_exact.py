"""JSON with every digit of its numbers."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import exact
from registry.errors import Invalid
from registry.validation import printable

NUMBERS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.integers(min_value=0, max_value=10**40).map(str),
    st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,40}", fullmatch=True)),
    st.one_of(st.just(""), st.from_regex(r"[eE][+-]?[0-9]{1,3}", fullmatch=True)),
)


@given(NUMBERS)
def test_every_number_keeps_its_digits(text: str) -> None:
    (written,) = exact.loads(exact.dumps([exact.loads(text)]))

    assert Decimal(exact.dumps(written).decode()) == Decimal(text)
    if not set("eE") & set(text):
        assert Decimal(exact.dumps(written).decode()).as_tuple()[1:] == Decimal(text).as_tuple()[1:]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("1.10", Decimal("1.10")),
        ("0.12345678901234567890123", Decimal("0.12345678901234567890123")),
        ("12345678901234567890123", 12345678901234567890123),
        ("1e400", Decimal("1e400")),
        ("9" * 5000, Decimal("9" * 5000)),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_a_value_is_read_as_what_holds_it(text: str, value: object) -> None:
    read = exact.loads(text.encode())

    assert (read, type(read)) == (value, type(value))
    assert Decimal(exact.dumps(read).decode()) == value if isinstance(value, Decimal) else True


@pytest.mark.parametrize("text", ["", "{", "NaN", "[-Infinity]", '"\\ud800"', "[" * 100_000, b"\xff", "1e" + "9" * 30])
def test_what_is_no_json_is_a_value_error(text: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"."):
        exact.loads(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, float("nan")]}, "metadata.a.1: nan: it must be a finite number"),
        ({"a": Decimal("Infinity")}, "metadata.a: Infinity: it must be a finite number"),
        ({"a": "\ud800"}, 'metadata.a: "\\\\ud800": it has a NUL or half of a surrogate pair'),
        ({"\ud800": 1}, "it has a NUL or half of a surrogate pair"),
        ({1: 2}, "metadata: 1: a name must be text"),
        ({"a": object()}, "metadata.a: (object): it must be a value of JSON"),
    ],
)
def test_what_json_cannot_say_is_named(value: object, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        exact.checked(value, "metadata")
    assert message in str(refused.value)
    with pytest.raises(Invalid):
        exact.dumps(value)


@pytest.mark.parametrize("value", [10**400, Decimal("-1e309"), Decimal("1e99999950"), "a\0b"])
def test_what_postgresql_does_not_store_can_be_written_and_not_be_given(value: object) -> None:
    assert exact.loads(exact.dumps(value)) == value
    with pytest.raises(Invalid, match=r"metadata\.a: "):
        exact.checked({"a": value}, "metadata")


def test_the_way_to_a_value_takes_no_memory_of_its_own_however_long_the_names_on_it_are() -> None:
    value: Any = 1
    for _ in range(100):
        value = {"n" * 10_000: value}

    tracemalloc.start()
    try:
        assert exact.checked(value, "metadata") == value
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_what_has_a_usual_form_is_given_in_it() -> None:
    value = {"ids": (UUID(int=1),), "at": datetime(2026, 1, 21, tzinfo=UTC), "set": {1}}

    assert exact.checked(value, "metadata") == {"ids": [str(UUID(int=1))], "at": "2026-01-21T00:00:00Z", "set": [1]}


class Float(float):
    """As NumPy's `float64` is one."""

    def __repr__(self) -> str:
        return f"Float({float(self)})"


def test_a_float_of_another_class_is_the_number() -> None:
    value = {"a": [Float(1.5), 2**70]}

    assert exact.dumps(exact.checked(value, "metadata")) == exact.dumps(value) == b'{"a":[1.5,1180591620717411303424]}'
    assert exact.same(Float(1.5), 1.5)
    assert printable(Float(1.5)) == "1.5"
    with pytest.raises(Invalid, match="it must be a finite number"):
        exact.checked({"a": Float("nan")}, "metadata")


@pytest.mark.parametrize(
    ("left", "right", "is_same"),
    [
        (1.1, Decimal("1.10"), True),
        (100, Decimal("1e2"), True),
        (0.1, Decimal("0.1000000000000000055511151231257827"), False),
        (1, True, False),
        ({"a": [1.0]}, {"a": [1]}, True),
        ({"a": 1}, {"b": 1}, False),
        ([1], [1, 2], False),
        (None, 0, False),
        ("1", 1, False),
    ],
)
def test_values_are_compared_as_jsonb_compares(left: Any, right: Any, is_same: bool) -> None:
    assert exact.same(left, right) is is_same
    assert exact.same(right, left) is is_same


def test_what_other_libraries_write_is_read_as_they_read_it() -> None:
    value = {"a": [1, 2.5, -0.0, 1e-7, 1e22, True, None, "ü\n"], "b": {}}

    assert exact.loads(json.dumps(value)) == value
    assert json.loads(exact.dumps(value)) == value
