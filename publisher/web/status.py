"""The health and metrics page of a running service, with `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from time import time

from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from publisher.applier.metrics import ApplierMetrics
from publisher.health import Health
from publisher.relay.metrics import RelayMetrics
from publisher.text import visible

disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client annotates it not

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } .ok { color: #15803d; } .bad { color: #b91c1c; }
@media (prefers-color-scheme: dark) { .ok { color: #4ade80; } .bad { color: #f87171; } }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0; }
td { padding: .35rem .6rem; border-bottom: 1px solid #8884; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
"""


def application(metrics: RelayMetrics, applier: ApplierMetrics, others: Sequence[Health] = ()) -> Starlette:
    """The page alone, reading from the metrics of both, and from the health of the `others`."""
    return Starlette(routes=routes(metrics, applier, others))


def routes(
    metrics: RelayMetrics, applier: ApplierMetrics, others: Sequence[Health] = (), *, page_path: str = "/"
) -> list[Route]:
    """The page's routes; the page itself is at `page_path`."""
    parts: list[Health] = [metrics, applier, *others]

    async def page(_: Request) -> Response:
        return HTMLResponse(render(metrics, applier, await applier.waiting_dead_letters(), parts))

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        problems, notes = problems_and_notes(parts)
        return JSONResponse(
            {"role": metrics.role, "ready": not problems, "problems": problems + notes},
            status_code=503 if problems else 200,
        )

    async def exported(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route(page_path, page),
        Route("/healthz", live),
        Route("/readyz", ready),
        Route("/metrics", exported),
    ]


def problems_and_notes(parts: Sequence[Health]) -> tuple[list[str], list[str]]:
    """What keeps the service from its work, and what else somebody should look at; each sentence once."""
    problems = dict.fromkeys(visible(text) for part in parts for text in part.problems())
    notes = dict.fromkeys(visible(text) for part in parts for text in part.notes())
    return list(problems), list(notes)


def render(metrics: RelayMetrics, applier: ApplierMetrics, dead_letters: int | None, parts: Sequence[Health]) -> str:
    """The status page for people, with how many `dead_letters` wait; it reloads itself every two seconds."""
    problems, notes = problems_and_notes(parts)
    heading = "Ready" if not problems else "Not ready"
    last = metrics.last_publish_at
    rows = {
        "Role": metrics.role,
        "Events published since start": f"{metrics.published:,}",
        "Outbox ids in flight": f"{metrics.waiting_ids:,}",
        "Last event published": f"{max(time() - last, 0):,.1f} s ago" if last else "none yet",
        "Interruptions": f"{metrics.interrupted:,}",
        "Role for commands": applier.role,
        "Commands answered since start": f"{applier.commands:,}",
        "Dead letters that wait": "unknown" if dead_letters is None else f"{dead_letters:,}",
    }
    for part in parts:
        rows |= part.facts()
    cells = [(escape(name), escape(visible(value))) for name, value in rows.items()]
    table = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in cells)
    listed = "".join(f'<p class="bad">{escape(problem)}</p>' for problem in problems)
    listed += "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
        f"<title>iMi registry: {heading.lower()}</title>"
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<h1>iMi Project Registry: <span class="{"bad" if problems else "ok"}">{heading}</span></h1>{listed}'
        f'<table>{table}</table><p><a href="metrics">metrics</a> · <a href="readyz">readyz</a> · '
        '<a href="healthz">healthz</a></p></body></html>'
    )
