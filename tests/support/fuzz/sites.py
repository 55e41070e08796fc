"""Where this project reads: each call of a decoder, and the functions that run while a reader reads."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
ROOMS = ("registry", "publisher")
DECODERS = {
    *("loads", "loads_given", "model_validate", "model_validate_json", "validate_json", "validate_python"),
    *("fromisoformat", "b64decode", "urlsafe_b64decode", "b32decode", "parse_qsl", "urlsplit", "literal_eval"),
    *("unpack", "safe_load", "fromstring"),
}
"""Functions and methods that make something of bytes or text, or raise."""
WRITERS = {"dumps", "encode", "hexlify", "b64encode", "b32encode", "urlsafe_b64encode"}
"""What they give is ASCII or UTF-8: `decode` of it reads nothing of others."""


class Site(NamedTuple):
    """A function of ours that decodes."""

    file: str
    """As `registry/exact.py`."""
    function: str
    """Its qualified name."""

    def __str__(self) -> str:
        return f"{self.file}: {self.function}"


def decoding() -> set[Site]:
    """Every function that calls a decoder, or `decode` without saying what is to become of bytes that are no text."""
    return {
        Site(file.relative_to(ROOT).as_posix(), function)
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for function in _decoding_in(ast.parse(file.read_text()), "")
    }


def _decoding_in(node: ast.AST, function: str) -> Iterator[str]:
    if isinstance(node, ast.Call) and _is_decoder(node):
        yield function or "<module>"
    inner = function
    match node:
        case ast.ClassDef():
            inner = f"{function}{node.name}."
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            inner = f"{function}{node.name}"
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        within = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_function
        yield from _decoding_in(child, f"{inner}.<locals>." if within else inner)


def _is_decoder(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name != "decode":
        return name in DECODERS
    of = call.func.value if isinstance(call.func, ast.Attribute) else None
    if isinstance(of, ast.Name) and of.id[0].isupper():  # a reader of ours, which calls a decoder itself
        return False
    made_by = of.func.attr if isinstance(of, ast.Call) and isinstance(of.func, ast.Attribute) else ""
    says_what = len(call.args) > 1 or any(keyword.arg == "errors" for keyword in call.keywords)
    return made_by not in WRITERS and not says_what


def run_by(read: Callable[[bytes], object], data: bytes, raises: tuple[type[Exception], ...]) -> set[Site]:
    """The functions of ours that run while `data` is read, or refused as the reader promises."""
    found: set[Site] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            path = frame.f_code.co_filename
            if path.startswith(f"{ROOT}/"):
                found.add(Site(path[len(str(ROOT)) + 1 :], frame.f_code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        with suppress(*raises):
            read(data)
    finally:
        sys.setprofile(before)
    return found
