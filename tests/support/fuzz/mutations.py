"""Foreign bytes: what a sender that is broken, newer, or hostile may make of a message that was valid once.

Twice: `foreign` as a strategy, which makes what fails small and takes a millisecond or two for each; `mutated` by plain
chance, so that a hundred thousand for each reader take a quarter of an hour.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

WEIRD: list[Any] = [
    *(None, True, "", " ", "\0", "\ud800", "\n", "\x1b[31m", "ü" * 300, "a.b.c.d", "-", "*", ">"),
    *(0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, -0.0, float("nan"), float("inf")),
    *("00000000-0000-0000-0000-000000000000", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.9999999+99:99", "infinity"),
    *([], {}, [[]], {"": {}}, ["x"] * 40, "postgresql://u:secret@h/d"),
]
"""Values that some reader somewhere has been surprised by."""
PIECES = [b"", b"\0", b"\xff", b"\xc3", b"\r\n", b"\n", b'"', b"{", b"}"]
PIECES += [b"[" * 3000, b'{"a":' * 3000, b"\\ud800", b"\\u0000", b",", b":", b"1e999999", b"-", b"NaN"]
PIECES += [b"9" * 5000, b" " * 5000, b"\xef\xbb\xbf", b".", b"/"]

VALUES = st.recursive(
    st.sampled_from(WEIRD) | st.text(max_size=12) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def foreign(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds` with a value, a name or some bytes changed, or something else altogether."""
    seed = draw(st.sampled_from(seeds))
    match draw(st.sampled_from(["value", "value", "name", "bytes", "bytes", "json", "any"])):
        case "value":
            return draw(_with_another_value(seed))
        case "name":
            return draw(_with_another_name(seed))
        case "bytes":
            return draw(_with_other_bytes(seed))
        case "json":
            return json.dumps(draw(VALUES)).encode()
        case _:
            return draw(st.binary(max_size=64))


@st.composite
def _with_another_value(draw: st.DrawFn, seed: bytes) -> bytes:
    document = _document(seed)
    places = list(_places(document))
    if not places:
        return json.dumps(draw(VALUES)).encode()
    holder, key = draw(st.sampled_from(range(len(places))).map(places.__getitem__))
    holder[key] = draw(VALUES)
    return json.dumps(document).encode()


@st.composite
def _with_another_name(draw: st.DrawFn, seed: bytes) -> bytes:
    document = _document(seed)
    holders = [holder for holder in _holders(document) if isinstance(holder, dict) and holder]
    if not holders:
        return seed
    holder = draw(st.sampled_from(range(len(holders))).map(holders.__getitem__))
    name = draw(st.sampled_from(sorted(holder)))
    value = holder.pop(name)
    if draw(st.booleans()):
        holder[draw(st.text(max_size=8) | st.sampled_from([name.upper(), name + " ", name * 40]))] = value
    return json.dumps(document).encode()


@st.composite
def _with_other_bytes(draw: st.DrawFn, seed: bytes) -> bytes:
    made = bytearray(seed)
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        start = draw(st.integers(min_value=0, max_value=len(made)))
        end = min(len(made), start + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 1 << 20])))
        made[start:end] = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
    return bytes(made)


def mutated(chance: Random, seeds: Sequence[bytes]) -> bytes:
    """As `foreign`."""
    seed = chance.choice(seeds)
    match chance.choice(["value", "value", "name", "bytes", "bytes", "json", "any"]):
        case "value":
            return _revalued(chance, seed)
        case "name":
            return _renamed(chance, seed)
        case "bytes":
            return _spliced(chance, seed)
        case "json":
            return json.dumps(_value(chance)).encode()
        case _:
            return chance.randbytes(chance.randrange(65))


def _revalued(chance: Random, seed: bytes) -> bytes:
    document = _document(seed)
    places = list(_places(document))
    if not places:
        return _spliced(chance, seed)
    holder, key = chance.choice(places)
    holder[key] = _value(chance)
    return json.dumps(document).encode()


def _renamed(chance: Random, seed: bytes) -> bytes:
    document = _document(seed)
    holders = [holder for holder in _holders(document) if isinstance(holder, dict) and holder]
    if not holders:
        return _spliced(chance, seed)
    holder = chance.choice(holders)
    name = chance.choice(sorted(holder))
    value = holder.pop(name)
    holder[chance.choice(["", name.upper(), f"{name} ", name * 40, *sorted(holder)])] = value
    return json.dumps(document).encode()


def _value(chance: Random, depth: int = 0) -> Any:
    match chance.randrange(8 if depth < 3 else 6):
        case 0:
            return chance.randrange(-(2**70), 2**70)
        case 1:
            return "".join(chr(chance.choice([chance.randrange(128), chance.randrange(0x110000)])) for _ in range(4))
        case 6:
            return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
        case 7:
            return {str(_value(chance, 3)): _value(chance, depth + 1) for _ in range(chance.randrange(4))}
        case _:
            return copy.deepcopy(chance.choice(WEIRD))


def _spliced(chance: Random, seed: bytes) -> bytes:
    made = bytearray(seed)
    for _ in range(chance.randint(1, 3)):
        start = chance.randint(0, len(made))
        end = min(len(made), start + chance.choice([0, 0, 1, 1, 2, 8, 1 << 20]))
        made[start:end] = chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(chance.randrange(5))
    return bytes(made)


def _document(seed: bytes) -> Any:
    try:
        return json.loads(seed)
    except ValueError:
        return None


def _holders(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    for holder in _holders(document):
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
