"""Which alerts fire on what a service exports: `promtool` says, with the rules that are shipped.

Each alert is so held against figures that a real service told of real servers, and not only against invented series.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "alerts.yml"
MINUTES = (30, 420)
"""After which it is looked: what rises is told within the hour, what lasts after its time."""
FIRING = 'ALERTS{alertstate="firing"}'

HAS_PROMTOOL = shutil.which("promtool") is not None
needs_promtool = pytest.mark.skipif(not HAS_PROMTOOL, reason="needs promtool of Prometheus")


async def firing(*scrapes: str) -> set[str]:
    """Names of the alerts that fire when all stays as the last of `scrapes`; the others come before it.

    Each is what a service exports, and they come a minute apart.
    """
    return await asyncio.to_thread(_firing, list(scrapes))


def _firing(scrapes: list[str]) -> set[str]:
    tested = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": list(_series(scrapes)),
                "promql_expr_test": [
                    {"expr": FIRING, "eval_time": f"{minutes}m", "exp_samples": []} for minutes in MINUTES
                ],
            }
        ],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump(tested, file)  # JSON is YAML
        file.flush()
        ran = subprocess.run(["promtool", "test", "rules", file.name], capture_output=True, text=True, check=False)
    told = ran.stdout + ran.stderr
    found = set(re.findall(r'alertname=\\?"(\w+)', told))
    assert found or ran.returncode == 0, told  # it fails with what fires, since none is expected
    return found


def _series(scrapes: list[str]) -> Iterator[dict[str, str]]:
    """All samples in promtool's notation: a value a minute, `_` where there is none, the last one to the end."""
    read = [_samples(text) for text in scrapes]
    for name in dict.fromkeys(name for samples in read for name in samples):
        values = [samples.get(name, "_") for samples in read]
        last = f"{values[-1]}{'' if values[-1] == '_' else '+0'}x{max(MINUTES)}"
        yield {"series": name, "values": " ".join([*values[:-1], last])}


def _samples(text: str) -> dict[str, str]:
    """Value of each series of our own, by its name with its labels."""
    return {
        f"{sample.name}{{{','.join(f'{label}={json.dumps(value)}' for label, value in sample.labels.items())}}}": (
            f"{sample.value:.9g}"
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("imi_") and not sample.name.endswith("_bucket")
    }
