"""The docstrings below the fields of a model: read when a schema is wanted, not when the model is imported."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent

from pydantic import BaseModel

from registry.concurrency.collector import collector_at_rest


def of_fields(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field of the model, and of those it inherits from, by the field's name."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            found |= _below_annotations(cls)
    return found


def _below_annotations(cls: type) -> dict[str, str]:
    try:
        source = inspect.getsource(cls)
    except OSError:  # a class made by a program
        return {}
    with collector_at_rest():  # what a collection calls, Python 3.11 takes for an error of the parse
        (definition,) = ast.parse(dedent(source)).body
    found = {}
    for both in pairwise(getattr(definition, "body", [])):
        match both:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
