"""What callers give to public functions: checked against the annotations, before anything is done with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache, wraps
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from registry.errors import Invalid
from registry.validation import check_text, printable

P = ParamSpec("P")
T = TypeVar("T")

MOST_INTEGER = 2**63 - 1
"""What PostgreSQL and NATS count with."""
FEWEST_DIGITS = 4
"""Of the beginning of an id."""
WORDS: dict[Any, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    UUID: "a UUID",
    datetime: "a time with a zone",
    dict: "a dictionary",
    Mapping: "a mapping",
    Callable: "a function",
    NoneType: "None",
}
"""What a class is called in messages."""


def checked_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which raises `Invalid` naming argument, value and rule for one that is not as annotated.

    Beyond its class: text can be stored, an integer has 64 bits, a number is finite, a time has a zone, and what is
    annotated as a UUID is one, or the text of one. Variable keywords are left to the function.
    """
    signature = inspect.signature(function)
    hints: dict[str, Any] = {}

    def check(*args: P.args, **kwargs: P.kwargs) -> None:
        if not hints:
            hints.update(get_type_hints(function))
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            kind = signature.parameters[name].kind
            if name in hints and kind is not inspect.Parameter.VAR_KEYWORD:
                check_argument(name, value, hints[name])

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            check(*args, **kwargs)
            return await function(*args, **kwargs)

        return awaited  # type: ignore[return-value]  # a coroutine function, too

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        check(*args, **kwargs)
        return function(*args, **kwargs)

    return called


def check_methods(cls: type) -> None:
    """Let all public methods of a class, its own ones, check what they are given."""
    for name, method in list(vars(cls).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(cls, name, checked_arguments(method))


def check_fields(given: Any) -> None:
    """Raise `Invalid` for a dataclass one of whose fields is not as annotated, as `checked_arguments` does."""
    kind: type = type(given)
    for name, hint in _hints_of(kind).items():
        check_argument(name, getattr(given, name), hint)


@cache
def _hints_of(cls: type) -> dict[str, Any]:
    """The fields of a dataclass with their annotations, which Python compiles anew whenever it is asked: 0.1 ms."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def check_argument(name: str, value: Any, hint: Any) -> None:
    """Raise `Invalid` unless `value` is as `hint` says."""
    allowed = _classes(hint)
    if Any in allowed or (value is None and NoneType in allowed):
        return
    if not any(_is(value, kind) for kind in allowed):
        words = " or ".join(WORDS.get(kind) or f"a {kind.__name__}" for kind in allowed)
        raise Invalid(f"{name}: {printable(value)}: it must be {words}")
    if isinstance(value, str):
        check_text(value, name)
    elif isinstance(value, int) and abs(value) > MOST_INTEGER:
        raise Invalid(f"{name}: {printable(value)}: out of range, it must be within 64 bits")
    elif isinstance(value, float) and not isfinite(value):
        raise Invalid(f"{name}: {value}: it must be a finite number")
    elif isinstance(value, datetime) and value.utcoffset() is None:
        raise Invalid(f'{name} "{value}" has no time zone')


@cache
def _classes(hint: Any) -> tuple[Any, ...]:
    """The classes that `hint` allows; which texts of a `Literal` there are, the function itself says."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _classes(part))
    return (str if origin is Literal else origin or hint,)


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    if kind is UUID:
        return isinstance(value, UUID) or (isinstance(value, str) and _is_uuid(value))
    return isinstance(value, kind)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def ids_with_prefix(reference: str) -> tuple[UUID | None, UUID | None]:
    """The first and the last id that begin with `reference`; none for what is no beginning of an id.

    What has fewer than `FEWEST_DIGITS` is none: "0" and "add" are meant as names.
    """
    digits = reference.replace("-", "").lower()
    is_beginning = FEWEST_DIGITS <= len(digits) <= 32 and set(digits) <= set("0123456789abcdef")
    if not is_beginning or not str(UUID(digits.ljust(32, "0"))).startswith(reference.lower()):
        return None, None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
