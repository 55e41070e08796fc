"""The results of runs, in a JSON file: a run of some benchmarks replaces theirs and keeps the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from benchmarks.harness.measure import Report

OF_THE_RUN = {"date", "commit", "imi-registry", "system", "measured in"}
OF_THE_RUN |= {"load average before", "processors busy before"}
"""What may differ between two runs whose results stand on one page: each section names its own."""


def write(path: Path, reports: Sequence[Report], machine: Mapping[str, str]) -> None:
    """Store the results of all `reports`, measured on `machine`."""
    content = {"machine": dict(machine), "reports": [asdict(report) for report in reports]}
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read(path: Path, machine: Mapping[str, str]) -> dict[str, Report]:
    """Earlier results by name; none when there are none, or when they are of another machine or other versions."""
    if not path.exists():
        return {}
    content = orjson.loads(path.read_bytes())
    if _lasting(content["machine"]) != _lasting(machine):
        return {}
    return {report.name: report for report in TypeAdapter(list[Report]).validate_python(content["reports"])}


def _lasting(machine: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in machine.items() if name not in OF_THE_RUN}
