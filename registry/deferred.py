"""Names of a package that are imported when somebody asks for them, as PEP 562 has it.

For what takes long to import and what few processes need: the models of all commands take a twelfth of a second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def deferred(package: str, module: str, names: frozenset[str]) -> Callable[[str], Any]:
    """The `__getattr__` of `package`, which has `names` from `module`."""

    def found(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    return found
