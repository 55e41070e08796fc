"""What an operator gets: metrics, alerts and dashboard name what is exported, and each alert has its page."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.metrics.exported import scraped
from tests.support.world import World

ROOT = Path(__file__).parents[3]
METRICS = ROOT / "docs" / "metrics.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "imi-registry.json"
NAME = re.compile(r"imi_[a-z_]+")
SUFFIX = re.compile(r"_(bucket|count|sum|total)$")
PARTS = ["relay", "applier", "start", "queries", "history", "retention", "months", "canary", "examination"]
PARTS += ["outbox_measurement", "stream_measurement", "console_database", "console_broker"]
PARTS += ["console_feed", "console_samples", "action_log"]
NOT_HERE = {"imi_database_disk_free_bytes", "imi_database_disk_full_days", "imi_jetstream_storage_limit_bytes"}
NOT_HERE |= {"imi_outbox_growth_bytes_per_day", "imi_consumer_pending_events", "imi_consumer_oldest_seconds"}
NOT_HERE |= {"imi_consumer_unacknowledged_events", "imi_event_dead_letters", "imi_embedded_servers_interruptions"}
NOT_HERE |= {"imi_mirror_events", "imi_mirror_snapshots", "imi_mirror_sequence", "imi_mirror_lag_seconds"}
NOT_HERE |= {"imi_mirror_age_seconds", "imi_mirror_leader", "imi_mirror_interruptions", "imi_mirror_crashes"}
NOT_HERE |= {f"imi_replica_{name}" for name in ("age_seconds", "lag_seconds", "behind_bytes", "uncopied_tables")}
NOT_HERE |= {f"imi_replica_{name}" for name in ("running", "errors", "interruptions", "crashes")}
NOT_HERE |= {f"imi_replica_slot_{name}" for name in ("active", "lost", "kept_bytes", "behind_bytes", "left_bytes")}
NOT_HERE |= {"imi_replica_slot_lag_seconds"}
NOT_HERE |= {"imi_activity_months_ahead", "imi_activities_elsewhere", "imi_activities_moved_ratio"}
NOT_HERE |= {f"imi_agreement_{name}" for name in ("ids_changed", "unsettled", "interruptions", "crashes")}
"""Absent with nothing to tell: a socket, ten minutes, a limit, a durable consumer, dead letters, `up`, a copy of
another registry, or one of this; months; nobody to agree with."""

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool of Prometheus")


def documented() -> set[str]:
    """Names of metrics in docs/metrics.md, without the suffixes of samples."""
    text = METRICS.read_text()
    for kind in ("interruptions", "crashes"):
        for part in PARTS:
            text += f" imi_{part}_{kind}_total"
    return {SUFFIX.sub("", name) for name in NAME.findall(text) if not name.endswith("_")}


@pytest.fixture
async def exported(world: World) -> str:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT register_project('p', 'https://github.com/org/p')")
    wanted = {"imi_outbox_bytes", "imi_stream_bytes", "imi_examination_lock_waits"}
    async with world.relay():  # so that the first measurement finds a stream
        await world.drained()
    with world.process() as process:
        url = (await process.ready())["http_url"]
        async with asyncio.timeout(20):
            while not wanted <= names_in(text := await asyncio.to_thread(scraped, url)):
                await asyncio.sleep(0.05)
    return text


def names_in(text: str) -> set[str]:
    return {family.name for family in text_string_to_metric_families(text)}


def promtool(*arguments: str, cwd: Path | None = None, stdin: str | None = None) -> tuple[int, str]:
    """Exit code and output."""
    ran = subprocess.run(["promtool", *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


async def test_the_page_lists_every_metric_and_no_other(exported: str) -> None:
    found = names_in(exported)
    assert found - documented() == set()
    assert documented() - found <= NOT_HERE


def test_each_metric_has_a_test_that_reads_it() -> None:
    """Of parts, one is enough: what interrupts and fails them is counted in one place."""
    files = set(ROOT.glob("tests/**/*.py")) - {Path(__file__)}
    text = "\n".join(file.read_text() for file in files)
    text += "".join(f"imi_{part}_interruptions imi_{part}_crashes " for part in PARTS)
    assert {name for name in documented() if name not in text} == set()


@needs_promtool
async def test_promtool_takes_the_metrics_and_evaluates_every_expression_over_them(
    exported: str, tmp_path: Path
) -> None:
    """One that reads well may mean two series of the same labels: then it never has a value, and no alert fires."""
    assert await asyncio.to_thread(promtool, "check", "metrics", stdin=exported) == (0, "")
    write_rules(tmp_path / "rules.yml")
    series = [{"series": name, "values": "0+1x90"} for name in sorted(series_in(exported))]
    at_the_end = {"eval_time": "80m", "expr": "vector(1)", "exp_samples": [{"labels": "{}", "value": 1}]}
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [at_the_end]}
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "test.yml").write_text(json.dumps(test))
    assert len(series) > 100
    code, output = await asyncio.to_thread(promtool, "test", "rules", "test.yml", cwd=tmp_path)
    assert code == 0, output


def series_in(exported: str) -> set[str]:
    """Each sample as PromQL names it."""
    return {
        f"{one.name}{{{','.join(f'{name}={json.dumps(value)}' for name, value in one.labels.items())}}}"
        for family in text_string_to_metric_families(exported)
        for one in family.samples
    }


def write_rules(file: Path) -> None:
    """Rules with every expression of alerts and dashboard; JSON is YAML."""
    rules = [
        {"record": f"x:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions())
    ]
    file.write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))


def alerts() -> dict[str, str]:
    """Expression of each alert, in their order."""
    return dict(re.findall(r"- alert: (\w+)\n +expr: (.+)\n", ALERTS.read_text()))


def expressions() -> Iterator[str]:
    yield from alerts().values()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


def test_alerts_and_dashboard_name_documented_metrics_alone() -> None:
    names = {SUFFIX.sub("", name) for text in expressions() for name in NAME.findall(text) if not name.endswith("_")}
    assert len(names) > 20
    assert names - documented() == set()


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    pages = re.findall(r"^## (Imi\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert pages == list(alerts())
    urls = re.findall(r"runbook_url: docs/runbook.md#(\w+)", ALERTS.read_text())
    assert urls == [name.lower() for name in alerts()]


def test_each_alert_is_made_to_fire_on_what_real_servers_export() -> None:
    texts = [file.read_text() for file in ROOT.glob("tests/**/*.py") if file != Path(__file__)]
    real = "\n".join(text for text in texts if "tests.support.metrics.alerts import" in text)
    assert [name for name in alerts() if f'"{name}"' not in real] == []


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    code, output = promtool("test", "rules", "alerts_test.yml", cwd=ALERTS.parent)
    assert code == 0, output
    cases = (ALERTS.parent / "alerts_test.yml").read_text()
    for alert in alerts():
        assert f"alertname: {alert}}}" in cases, f"{alert}: no case in which it does not fire"
        assert f"alertname: {alert}\n        exp_alerts: [{{" in cases, f"{alert}: no case in which it fires"


@needs_promtool
def test_promtool_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    write_rules(file)
    code, output = promtool("check", "rules", str(file))
    assert code == 0, output
