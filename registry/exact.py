"""JSON with every digit of its numbers, as PostgreSQL keeps them: read, written, compared by value.

A number of JSON may have any size and any digits. One is read as the `int` it is, as the `float` that has the same
digits and no others, and else as a `Decimal`: 1.5 is a float, 1.10 and 0.12345678901234567890123 are none. Where
metadata passes, it is read and written here; the common libraries make doubles of numbers, or strings of a `Decimal`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

import orjson
from pydantic_core import PydanticSerializationError, to_jsonable_python

from registry.errors import Invalid
from registry.urls import MOST_SEARCHED
from registry.validation import UNSTORABLE, printable, printable_place

LARGEST = Decimal("1.7976931348623157e308")
"""Numbers beyond it, up or down, are taken by nobody: a reader's double could not even come near them."""
MOST_PLACES = 16383
"""Digits of a number behind its point: PostgreSQL takes no more, and of a nought no exponent of any size."""
MOST_DIGITS = 4300
"""A longer integer is a `Decimal`: Python reads and prints none as an `int` (`sys.set_int_max_str_digits`)."""
_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**64 - 1
"""Integers that orjson writes."""
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def loads(text: bytes | str, twice: list[str] | None = None) -> Any:
    """The value of a JSON text. Raises `ValueError`, in one line for people, for what is none: NaN, half a character.

    Of a name that an object has twice the last one counts, as for `jsonb`; it is put into `twice`, where that is given.
    """
    try:
        characters = text.decode() if isinstance(text, bytes) else text
        value = (_DECODER if twice is None else _decoder(twice)).decode(characters)
        if isinstance(text, str) or _ESCAPED_SURROGATE.search(characters):
            _walk(value, "value", _checked_text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ArithmeticError:
        raise ValueError("it has a number whose exponent nobody can hold") from None
    except Invalid as error:
        raise ValueError(str(error)) from None
    return value


def loads_given(text: bytes | str) -> Any:
    """`loads` of what somebody wrote, who means something by each name: one that comes twice is a `ValueError`, too."""
    twice: list[str] = []
    value = loads(text, twice)
    if twice:
        raise ValueError(named_twice(twice))
    return value


def named_twice(twice: list[str]) -> str:
    """What is wrong with an object that has names twice, for people."""
    return f"the name {printable(twice[0])} comes twice in one object"


def dumps(value: Any, place: str = "value", *, sort_keys: bool = False, indent: bool = False) -> bytes:
    """The JSON text of a value: also of UUIDs, and of aware times, which are RFC 3339.

    Raises `Invalid` naming `place` and what leads on from there, the value, and the rule.
    """
    option = orjson.OPT_UTC_Z
    option |= orjson.OPT_SORT_KEYS if sort_keys else 0
    option |= orjson.OPT_INDENT_2 if indent else 0
    try:
        text = orjson.dumps(value, default=_fragment, option=option)
        if b"null" not in text:  # as which orjson writes what is no number, too
            return text
    except orjson.JSONEncodeError:
        pass  # an integer that it does not write, or what is to be named
    try:
        return orjson.dumps(_walk(value, place, _written), default=_fragment, option=option)
    except RecursionError:
        raise Invalid(f"{place}: it is nested too deep") from None
    except orjson.JSONEncodeError as error:
        raise Invalid(f"{place}: {error}") from None


def checked(value: Any, place: str) -> Any:
    """A value that somebody gave, as JSON has it: with lists for tuples, text for what has a usual form.

    Raises `Invalid` as `dumps` does, and for what PostgreSQL does not store: a NUL, a number beyond `LARGEST`.
    """
    try:
        return _walk(value, place, _checked)
    except RecursionError:
        raise Invalid(f"{place}: it is nested too deep") from None


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal as `jsonb` compares: 1.10 is 1.1 and 1e2 is 100, but 1 is not true."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if _is_number(left) and _is_number(right):
        return _decimal(left) == _decimal(right)
    return type(left) is type(right) and bool(left == right)


def _walk(value: Any, place: str, leaf: Callable[[Any, str], Any]) -> Any:
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise Invalid(f"{place}: {printable(name)}: a name must be text")
            leaf(name, place)
        return {name: _walk(inner, _inside(place, name), leaf) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(inner, _inside(place, number), leaf) for number, inner in enumerate(value)]
    return leaf(value, place)


def _inside(place: str, part: object) -> str:
    """The way to an inner value, as far as a message looks at it: a name on it may have a million characters."""
    return f"{place}.{part}"[: MOST_SEARCHED + 1]


def _fragment(value: Any) -> orjson.Fragment:
    """A number that orjson does not write itself."""
    if not isinstance(value, Decimal) or not value.is_finite():
        raise TypeError(f"{type(value).__name__} is no value of JSON")
    return orjson.Fragment(str(value))


def _written(value: Any, place: str) -> Any:
    """As orjson writes it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if _SMALLEST_INT <= value <= _LARGEST_INT else Decimal(value)
    if isinstance(value, float | Decimal):
        _check_finite(value, place)
    return float(value) if isinstance(value, float) else _checked_text(value, place)


def _checked(value: Any, place: str) -> Any:
    if _is_number(value):
        if not isinstance(value, int):
            _check_finite(value, place)
        if _decimal(value).copy_abs() > LARGEST:  # abs() has an exponent that it bears at most
            number = f"{_decimal(value):.10E}"
            raise Invalid(
                f"{printable_place(place)}: a number in it is too large: {number} is beyond ±1.7976931348623157e308"
            )
        _check_exponent(value, place)
        return value
    if isinstance(value, str) and "\0" in value:
        raise Invalid(f"{printable_place(place)}: {printable(value)}: it has {UNSTORABLE}")
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return _checked_text(value, place)
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError):
        raise Invalid(f"{printable_place(place)}: {printable(value)}: it must be a value of JSON") from None


def _check_exponent(value: Any, place: str) -> None:
    exponent = value.as_tuple().exponent if isinstance(value, Decimal) else 0
    assert isinstance(exponent, int)  # noqa: S101  # it is finite
    if exponent < -MOST_PLACES or (exponent > MOST_PLACES and not value):
        raise Invalid(f"{printable_place(place)}: a number in it has its last digit at 1e{exponent}, beyond 1e±16383")


def _check_finite(value: float | Decimal, place: str) -> None:
    is_finite = value.is_finite() if isinstance(value, Decimal) else isfinite(value)
    if not is_finite:
        raise Invalid(f"{printable_place(place)}: {value}: it must be a finite number")


def _checked_text(value: Any, place: str) -> Any:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Invalid(f"{printable_place(place)}: {printable(value)}: it has {UNSTORABLE}") from None
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _decimal(value: int | float | Decimal) -> Decimal:
    """The number as its digits tell it; of a double the shortest that mean it, as everybody writes them."""
    return Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= MOST_DIGITS else Decimal(digits)


def _fraction(digits: str) -> float | Decimal:
    number = float(digits)
    if repr(number) == digits:
        return number
    exact = Decimal(digits)
    if isfinite(number) and Decimal(repr(number)).as_tuple() == exact.as_tuple():
        return number
    return exact


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, parse_constant=_constant)


def _decoder(twice: list[str]) -> json.JSONDecoder:
    """One that puts the names that an object has twice into `twice`."""

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    twice.append(name)
                seen.add(name)
        return value

    return json.JSONDecoder(
        object_pairs_hook=as_dict, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
    )
