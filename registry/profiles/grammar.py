"""The grammar of names in the shared stream: as it is today, or with the version that older deployments have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from registry.errors import Conflict
from registry.profiles.words import DOMAIN

REVISION = 1
"""Revision of the schemas of data: neither in a type nor in a subject."""


class Grammar(NamedTuple):
    """How a word, `<entity>.<action>`, becomes a type and a subject."""

    name: str
    """As in the setting `bloodbank_grammar`."""
    version: str
    """What stands before the domain."""

    def root(self, kind: str) -> str:
        """What the subjects of one kind of message (`evt`, `cmd`, `rpy`) begin with."""
        return f"bloodbank.{kind}.{self.version}{DOMAIN}"

    def names(self, kind: str, word: str) -> dict[str, str]:
        """The attributes of a message that follow from its kind and word; `subject` is that of NATS, too."""
        type_ = f"bloodbank.{self.version}{DOMAIN}.{word}"
        return {
            "type": type_,
            "subject": f"{self.root(kind)}.{word}",
            "dataschema": f"apicurio://holyfields/{type_}/versions/{REVISION}",
            "schemaref": f"{type_}.v{REVISION}",
            "domain": DOMAIN,
        }


PLAIN = Grammar("plain", "")
"""`bloodbank.<domain>.<entity>.<action>`, on `bloodbank.evt.<domain>.<entity>.<action>`."""
V1 = Grammar("v1", "v1.")
"""`bloodbank.v1.…`, on `bloodbank.evt.v1.…`."""
GRAMMARS = {grammar.name: grammar for grammar in (PLAIN, V1)}


def spoken_in(
    stream: str, bound: Sequence[str], needed: Callable[[Grammar], Iterable[str]], among: Sequence[Grammar]
) -> Grammar:
    """The first grammar of `among` whose `needed` subjects are all bound to the stream.

    Raises `Conflict` naming the stream, what is bound to it, and a subject of ours that is not.
    """
    missing: list[str] = []
    for grammar in among:
        lacking = [subject for subject in needed(grammar) if not is_bound(bound, subject)]
        if not lacking:
            return grammar
        missing += lacking[:1]
    raise Conflict(
        f"stream {stream} does not take our subjects: bound to it is {', '.join(bound) or 'nothing'}, "
        f"and not {' or '.join(missing)}; its owner may bind that, or the setting bloodbank_grammar is wrong"
    )


def is_bound(patterns: Iterable[str], subject: str) -> bool:
    """Whether one of the `patterns`, in which `*` is a token and a last `>` any number of them, has the subject."""
    return any(_matches(pattern.split("."), subject.split(".")) for pattern in patterns)


def _matches(pattern: list[str], tokens: list[str]) -> bool:
    if pattern[-1] == ">":
        return len(tokens) >= len(pattern) and _matches(pattern[:-1], tokens[: len(pattern) - 1])
    return len(tokens) == len(pattern) and all(
        part in ("*", token) for part, token in zip(pattern, tokens, strict=True)
    )
