"""What callers give to public functions is checked against the annotations; a refusal names argument, value, rule."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from registry.arguments import checked_arguments
from registry.errors import Invalid


class Name(str):
    __slots__ = ()


@checked_arguments
def plain(
    text: str = "",
    count: int | None = None,
    number: float = 1.0,
    flag: bool = False,
    id_: UUID | None = None,
    time: datetime | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bool:
    return True


@checked_arguments
async def awaited(text: str) -> str:
    return text


@checked_arguments
@asynccontextmanager
async def block(text: str) -> AsyncIterator[str]:
    yield text


@pytest.mark.parametrize(
    "given",
    [
        {"text": "größe"},
        {"text": Name("x")},
        {"count": 2**63 - 1},
        {"number": 3},
        {"flag": True},
        {"id_": UUID(int=1)},
        {"id_": str(UUID(int=1))},
        {"time": datetime.now(UTC)},
        {"metadata": {}},
        {"count": None, "id_": None, "time": None, "metadata": None},
    ],
)
def test_what_is_as_annotated_is_taken(given: dict[str, Any]) -> None:
    assert plain(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": b"x"}, "text: (bytes): it must be text"),
        ({"text": None}, "text: null: it must be text"),
        ({"text": "a\0b"}, 'text: "a\\0b": it has a NUL or half of a surrogate pair; neither can be stored'),
        ({"text": "\ud800"}, 'text: "\\\\ud800": it has a NUL'),
        ({"count": "1"}, 'count: "1": it must be an integer or None'),
        ({"count": True}, "count: true: it must be an integer or None"),
        ({"count": 1.5}, "count: 1.5: it must be an integer or None"),
        ({"count": 2**63}, "count: 9223372036854775808: out of range, it must be within 64 bits"),
        ({"count": -(10**5000)}, "count: (int): out of range, it must be within 64 bits"),
        ({"number": math.nan}, "number: nan: it must be a finite number"),
        ({"number": "x"}, 'number: "x": it must be a number'),
        ({"flag": 1}, "flag: 1: it must be true or false"),
        ({"id_": "x"}, 'id_: "x": it must be a UUID or None'),
        ({"id_": b"x"}, "id_: (bytes): it must be a UUID or None"),
        ({"time": datetime(2026, 1, 1)}, 'time "2026-01-01 00:00:00" has no time zone'),
        ({"metadata": []}, "metadata: (list): it must be a mapping or None"),
    ],
)
def test_what_is_not_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as refused:
        plain(**given)

    assert message in str(refused.value)


async def test_functions_that_are_awaited_or_entered_are_checked_as_well() -> None:
    assert await awaited("x") == "x"
    async with block("x") as text:
        assert text == "x"

    with pytest.raises(Invalid, match="text: 5: it must be text"):
        await awaited(5)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="text: 5: it must be text"):
        async with block(5):  # type: ignore[arg-type]
            pass
