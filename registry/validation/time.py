"""The type of a time in a model. By itself, so that who only checks text need not load pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

from registry.validation import nearest_time

Time = Annotated[AwareDatetime, BeforeValidator(nearest_time)]
"""A time out of a row."""
