"""Rows of any size: a query gives the large values of a row only where they have few enough bytes as JSON.

Metadata and some texts have no limit in the tables. Of a row whose large values have more bytes together than its
reader wants, a text comes as its beginning, metadata as an empty object, and `is_shortened` says so. The argument is
that of docs/adr/0008-rows-of-any-size.md: what is stored says little about the text, so the text is measured, but not
made of a value that is far too large.
"""

from __future__ import annotations

from typing import LiteralString, NamedTuple

from registry.models import Row

WHOLE_BYTES = 64 * 1024 * 1024
"""A row with more is told shortened, unless its reader asks for more: one such value would fill a process.

So is one whose metadata has more than that as PostgreSQL keeps it."""
BEGINNING_CHARACTERS = 200


class Told(NamedTuple):
    """Rows of one noun, and which of their values can be large: `texts`, and metadata."""

    model: type[Row]
    query: LiteralString
    """Finds the rows, each with the fields of `model`; a condition is added behind it."""
    key: LiteralString
    """The id in the query."""
    texts: tuple[LiteralString, ...]

    def sql(self, condition: LiteralString = "") -> LiteralString:
        """The query; its first parameter is the most bytes that the large values of a row may have.

        What is measured and cut stands above the `LIMIT` of the condition, and nothing that sorts above it.
        """
        sizes = " + ".join([*map(_text_bytes, self.texts), _metadata_bytes("found.metadata")])
        return f"""
            SELECT {", ".join(map(self._column, self.model.model_fields))}
            FROM (SELECT %s::bigint AS bytes) AS most
            CROSS JOIN ({self.query} {condition}) AS found
            CROSS JOIN LATERAL (SELECT {sizes} <= most.bytes AS is_whole OFFSET 0) AS told
        """  # noqa: S608  # names of fields, and constants

    def _column(self, name: str) -> str:
        if name == "is_shortened":
            return "NOT told.is_whole AS is_shortened"
        if name == "metadata":
            return "CASE WHEN told.is_whole THEN found.metadata ELSE '{}' END AS metadata"
        if name in self.texts:
            beginning = f"left(found.{name}, {BEGINNING_CHARACTERS})"
            return f"CASE WHEN told.is_whole THEN found.{name} ELSE {beginning} END AS {name}"
        return f"found.{name}"


def _text_bytes(name: LiteralString) -> LiteralString:
    """Bytes of a text as JSON; more than enough where it alone is too large. A control character has six."""
    return f"""
        CASE
            WHEN octet_length(found.{name}) > most.bytes THEN most.bytes + 2
            ELSE coalesce(octet_length(to_json(found.{name})::text), 0)
        END"""


def _metadata_bytes(column: LiteralString) -> LiteralString:
    """The same of a value of jsonb, which has at most five times the bytes of its text; an empty path decompresses.

    One of more than `WHOLE_BYTES` is too large for who wants less, without becoming text: of 150 MB that took 7 s, and
    those that have so small a text are arrays of tens of millions of numbers.
    """
    most = f"least(5 * most.bytes, greatest(most.bytes, {WHOLE_BYTES}))"
    return f"""
        CASE
            WHEN pg_column_size({column}) > {most} THEN most.bytes + 2
            WHEN pg_column_size({column} #> '{{}}') > {most} THEN most.bytes + 2
            ELSE octet_length({column}::text)
        END"""
