"""Values from the registry are hostile: whatever field they are in, and on whatever page, they are text."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote, urljoin, urlsplit

import pytest

from tests.integration.web.console.test_dead_letters import bury
from tests.support.web.console import Visitor, served
from tests.support.web.hostile import RAW, TEXT, fill
from tests.support.world import World

MOST_PAGES = 150
NOT_PAGES = ("/static/", "/metrics", "/readyz", "/healthz", "/envelope", "/payload")


async def crawled(visitor: Visitor, *starts: str) -> dict[str, tuple[int, str]]:
    """Status and text of every page that links lead to from `starts`."""
    found: dict[str, tuple[int, str]] = {}
    waiting = list(starts)
    while waiting and len(found) < MOST_PAGES:
        path = waiting.pop(0)
        if path in found:
            continue
        answer = await visitor.get(quote(path, safe="/?&=%+:"))
        found[path] = (answer.status, answer.text)
        for link in re.findall(r'(?:href|hx-get)="([^"]*)"', answer.text):
            target = urlsplit(urljoin(path, unescape(link)))
            if target.netloc or target.scheme:
                assert target.netloc == "", f"{path} leads elsewhere: {link}"
            elif not any(part in target.path for part in NOT_PAGES) and not link.startswith("#"):
                own = target.path or urlsplit(path).path
                waiting.append(own + (f"?{target.query}" if target.query else ""))
    return found


@pytest.fixture
async def filled(world: World) -> World:
    fill(world.database)
    await bury(world, TEXT.encode(), b'{"name": "' + TEXT.encode().replace(b'"', b'\\"') + b'"}')
    return world


async def test_whatever_is_in_a_field_is_text_on_every_page(filled: World) -> None:
    async with served(filled) as (visitor, _):
        await filled.drained()
        signed = await visitor.sign_in(TEXT[:50])
        pages = await crawled(visitor, "/", f"/search?q={quote(TEXT[:60])}", "/log", f"/events?agent={quote(TEXT)}")
        for path, answer in {"/sign-in": signed, "/log": await visitor.log()}.items():
            pages[path] = (answer.status, answer.text)

        assert len(pages) > 60
        for path, (status, text) in pages.items():
            assert status in (200, 400, 404), f"{path}: {status}"
            for raw in RAW:
                assert raw not in text, f"{path} has {raw!r}"
            assert not re.search(">49(?![0-9a-f])", text)  # what a template would make of it; an id may begin so
        shown = [path for path, (_, text) in pages.items() if "&lt;script&gt;alert(1)&lt;/script&gt;" in text]
        for kind in ("/projects/", "/worktrees/", "/events/", "/commands/", "/dead-letters/", "/search", "/log"):
            assert any(path.startswith(kind) for path in shown), kind


async def test_pieces_and_what_comes_by_itself_are_text_too(filled: World) -> None:
    async with served(filled) as (visitor, _):
        await filled.drained()
        async with visitor.live("/live/events?after=0") as events:
            _, rows = await anext(events)
        async with visitor.live("/live/overview") as events:
            _, overview = await anext(events)
        texts = [rows, overview]
        for number in range(1, 9):
            texts += [
                (await visitor.piece(f"/events/{number}")).text,
                (await visitor.piece(f"/state?event={number}")).text,
            ]
        assert "&lt;script&gt;" in rows
        for text in texts:
            for raw in RAW:
                assert raw not in text


@pytest.mark.parametrize(
    "path",
    [
        "/{}",
        "/projects/{}",
        "/worktrees/{}/history",
        "/events/{}",
        "/events?entity={}",
        "/events?since={}",
        "/commands/{}",
        "/commands?text={}",
        "/commands/send?name={}",
        "/dead-letters/.commands/{}",
        "/dead-letters?of={}",
        "/search?q={}",
        "/sign-in?to={}",
        "/state?event={}",
    ],
)
async def test_what_a_url_says_is_text(world: World, path: str) -> None:
    async with served(world, works=False) as (visitor, _):
        answer = await visitor.get(path.format(quote(TEXT[:100], safe="")))
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        for raw in RAW:
            assert raw not in answer.text


async def test_links_lead_somewhere(world: World) -> None:
    world.write(projects=2, worktrees=2, renames=1)
    async with served(world) as (visitor, _):
        await world.drained()
        await visitor.until("/events", "project.registered")
        pages = await crawled(visitor, "/")
        broken = {path for path, (status, _) in pages.items() if status != 200}
        assert broken <= {path for path in pages if re.fullmatch(r"/events/\d+", path)}  # the one behind the last
        assert len(broken) <= 1, broken
