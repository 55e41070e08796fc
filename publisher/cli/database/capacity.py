"""`imi-registry capacity`: what a rate of writes needs of disks, processors and publishers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from publisher.cli.arguments.amounts import duration_seconds, rate_per_second
from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder
from publisher.cli.servers.session import UP_FOLDER, located_schema, reads, run
from publisher.cli.terminal.text import emit_json

if TYPE_CHECKING:
    from publisher.capacity.estimate import Estimate, Figures, Load

PEAK = 3
"""How much more than on average is written at the peak, where nobody says."""


@reads
def capacity(
    writes: Annotated[str, typer.Option("--writes", metavar="RATE", help="Writes on average, as 200/s, 50/min, 9/d.")],
    keep: Annotated[
        str, typer.Option("--keep", metavar="TIME", help="How long events stay in the outbox, as 90d, 12h.")
    ] = "90d",
    stream_keep: Annotated[
        str | None,
        typer.Option(
            "--stream-keep",
            metavar="TIME",
            help="How long they stay in the stream; default: as --keep.",
            show_default=False,
        ),
    ] = None,
    peak: Annotated[
        str | None,
        typer.Option(
            "--peak",
            metavar="RATE",
            help="Writes while most is written; default: three times --writes.",
            show_default=False,
        ),
    ] = None,
    events_per_write: Annotated[
        float, typer.Option("--events-per-write", help="Events of one write; of a command 2.", min=0.001, max=1e6)
    ] = 1.0,
    replicas: Annotated[int, typer.Option("--replicas", help="Copies of the stream.", min=1, max=5)] = 1,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    as_json: AsJson = False,
) -> None:
    """Estimate disks, WAL, processors and publishers for a rate of writes.

    By the figures of docs/performance.md; with --database-url or --state-dir the bytes of an event are those of the
    latest events of that registry. What environment variables name is not looked at.

    Example: imi-registry capacity --writes 200/s --keep 90d
    """
    from publisher.capacity.estimate import MEASURED, Load, estimate

    average, kept = rate_per_second("--writes", writes), duration_seconds("--keep", keep)
    load = Load(
        writes_per_second=average,
        peak_per_second=_peak(peak, writes, average),
        keep_seconds=kept,
        stream_keep_seconds=kept if stream_keep is None else duration_seconds("--stream-keep", stream_keep),
        events_per_write=events_per_write,
        replicas=replicas,
    )
    figures = MEASURED
    if database_url is not None or UP_FOLDER.get() is not None:
        from publisher.capacity.own_figures import own_figures

        figures = run(own_figures(located_schema(database_url)))
    found = estimate(load, figures)
    if as_json:
        emit_json({"load": load._asdict(), "figures": figures._asdict(), "estimate": found._asdict()})
    else:
        _print(load, figures, found)


def _peak(given: str | None, writes: str, average: float) -> float:
    """Writes a second at the peak. Raises `Invalid` for less than the average."""
    from registry.errors import Invalid
    from registry.validation import printable

    if given is None:
        return PEAK * average
    peak = rate_per_second("--peak", given)
    if peak < average:
        raise Invalid(f"--peak: value {printable(given)}: it must be at least the average, --writes {writes}")
    return peak


def _print(load: Load, figures: Figures, found: Estimate) -> None:
    from publisher.cli.terminal import tables

    rows = [*_storage(load, figures, found), *_work(load, found)]
    tables.print_table(
        {
            "what": [row.what for row in rows],
            "how much": [row.how_much for row in rows],
            "that is": [row.that_is for row in rows],
        },
        empty="",
        dispensable=("that is",),
    )


class Row(NamedTuple):
    """A line of the table."""

    what: str
    how_much: str
    that_is: str


def _storage(load: Load, figures: Figures, found: Estimate) -> list[Row]:
    rate = f"{_number(load.writes_per_second * load.events_per_write)}/s"
    servers = f"{found.nats_disks} servers, each" if found.nats_disks > 1 else "one server"
    stored = f"{found.outbox_events:,.0f} events: {rate} for {_time(load.keep_seconds)}"
    streamed = f"{found.stream_events:,.0f} events, for {_time(load.stream_keep_seconds)}"
    return [
        Row("outbox", _bytes(found.outbox_bytes), stored),
        Row("stream", _bytes(found.stream_bytes), streamed),
        Row("event", f"{figures.outbox_bytes:,.0f} bytes", f"in the outbox, by {figures.source}"),
        Row("", f"{figures.stream_bytes:,.0f} bytes", "in the stream"),
        Row("database disk", _bytes(found.database_disk_bytes), "the outbox, a third more, 2 GiB of WAL"),
        Row("NATS disk", _bytes(found.nats_disk_bytes), f"{servers}: the stream, a third more"),
        Row("WAL a day", _bytes(found.wal_bytes_per_day), f"{figures.wal_bytes:,.0f} bytes a write"),
    ]


def _work(load: Load, found: Estimate) -> list[Row]:
    publishers = "one leads, one stands by"
    if found.streams > 1:
        publishers = f"of {found.streams:,} registries with a stream each: docs/scaling.md"
    return [
        Row("cores", _cores(found.cores), "on average: PostgreSQL, publisher, NATS"),
        Row("", _cores(found.peak_cores), f"at the peak: {_number(load.peak_per_second)} writes/s"),
        Row("publishers", f"{found.publishers:,}", publishers),
        Row(
            "NATS away 1 day",
            f"{found.day_events:,.0f}",
            f"events wait, then {_time(found.catch_up_seconds)} to publish",
        ),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def _cores(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2g}"


def _bytes(count: float) -> str:
    from rich.filesize import decimal

    return decimal(round(count))


def _time(seconds: float) -> str:
    for least, unit, name in ((2 * 86_400, 86_400, "days"), (2 * 3600, 3600, "h"), (120, 60, "min")):
        if seconds >= least:
            return f"{_number(seconds / unit)} {name}"
    return f"{_number(seconds)} s"
