"""Options that say how much of somebody's file an import takes."""

from __future__ import annotations

from typing import Annotated

import typer

from publisher.cli.arguments.amounts import duration_seconds, size_bytes
from publisher.cli.arguments.options import MOST
from registry.allowance import Allowance

MostRows = Annotated[
    int,
    typer.Option("--most-rows", help="Rows that it may have; with more, none is taken.", min=1, max=MOST),
]
MostBytes = Annotated[str, typer.Option("--most-bytes", help="Bytes that its rows may have, unpacked: 500MiB, 64GiB.")]
MostTime = Annotated[str, typer.Option("--most-time", help="Time that it may take: 90s, 30min, 6h.")]


def allowance(rows: int, size: str, time: str) -> Allowance:
    """What these options allow; its time runs from now. Raises `Invalid`."""
    return Allowance(rows, size_bytes("--most-bytes", size), duration_seconds("--most-time", time))
