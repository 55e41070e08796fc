"""Pages of the documentation, whose examples are run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The texts of a language in a page of docs/."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def settings_in(text: str) -> dict[str, str]:
    """The settings in a text as of postgresql.conf, without quotes."""
    return dict(re.findall(r"^(\w+) = '?(.*?)'?$", text, re.MULTILINE))


def services_of(page: str) -> dict[str, str]:
    """The variables that a page gives to `serve`, in the one text of a shell that it has."""
    (text,) = blocks(page, "sh")
    return dict(re.findall(r'^(\w+)="?(.*?)"?$', text, re.MULTILINE))
