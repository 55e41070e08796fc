"""Who may act: whoever has the token, in a page of this console; and nobody else, whatever they send."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import pytest

from publisher.web import tries
from publisher.web.console import bounded, session
from publisher.web.console.pages import sign_in
from publisher.web.console.session import Sessions
from publisher.web.rates import Rate
from tests.support.web.console import TOKEN, Visitor, served
from tests.support.world import World


async def test_the_link_signs_in_and_no_cookie_is_set(world: World) -> None:
    async with served(world, works=False) as (visitor, console):
        answer = await visitor.get(f"/sign-in?token={TOKEN}")
        assert answer.status == 200
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        assert 'data-to="/"' in answer.text
        assert TOKEN not in answer.text
        assert [action.what for action in console.log.latest()] == ["signed in"]


async def test_a_wrong_token_is_no_session(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        answer = await visitor.sign_in(token="wrong")  # noqa: S106  # of a test
        assert answer.status == 403
        assert "not the token" in answer.text
        assert not visitor.session


async def test_who_tries_many_tokens_is_not_heard_for_a_while_and_the_right_one_always_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(tries, "OF_ONE", (10, 600))
    async with served(world, works=False) as (visitor, _):
        for _ in range(11):
            assert (await visitor.sign_in()).status == 200, "the right one is no try"
        tried = await asyncio.gather(*[visitor.sign_in(token=f"wrong {number}") for number in range(10)])
        assert {answer.status for answer in tried} == {403}
        for _ in range(3):
            answer = await visitor.sign_in(token="wrong")  # noqa: S106  # of a test
            assert (answer.status, 0 < int(answer.headers["retry-after"]) <= 600) == (429, True)
            assert "too many wrong tokens: try again in" in answer.text
            assert (await visitor.sign_in()).status == 200


async def test_who_has_another_address_at_each_try_is_not_heard_either_and_keeps_nobody_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an account of the machine does where `http_proxies` has that machine."""
    monkeypatch.setattr(tries, "OF_ALL", (5, 600))
    monkeypatch.setattr(sign_in, "WRONG_SECONDS", 0.0)
    noted: list[str] = []
    monkeypatch.setattr(tries.log, "warning", lambda event, **_: noted.append(event))
    async with served(world, works=False, proxies="127.0.0.1") as (visitor, _):

        async def tried(number: int, token: str) -> int:
            forged = {"X-Forwarded-For": f"10.9.{number}.1"}
            return (await visitor.post("/sign-in", {"token": token}, **forged)).status

        assert [await tried(number, f"wrong {number}") for number in range(20)] == [403] * 5 + [429] * 15
        assert [await tried(number, TOKEN) for number in range(20)] == [200] * 20
        assert noted == ["too many wrong tokens"]


async def test_a_session_does_so_much_at_once_and_no_more(world: World) -> None:
    async with served(world, works=False) as (visitor, console):
        console.acts = Rate(2, 600)
        await visitor.sign_in()
        other = Visitor(visitor.port)
        await other.sign_in()
        statuses = [(await visitor.act("/proof/planets", {})).status for _ in range(3)]
        assert statuses == [404, 404, 429]
        assert (await other.act("/sign-out", {})).status == 303


@pytest.mark.parametrize(
    "key", ["", "a", "a.b.c.d", "..", "...", "Y29uc29sZQ==.9999999999.0.00", "é.1.2.3", "\ud800.1.2.3", "a" * 7000]
)
async def test_a_session_that_is_not_ours_is_none(world: World, key: str) -> None:
    async with served(world, works=False) as (visitor, _):
        visitor.session = key.encode("utf-8", "surrogatepass").decode("latin-1")
        assert (await visitor.log()).status == 403
        assert (await visitor.act("/sign-out", {})).status == 403


async def test_a_session_of_another_token_is_none_here(world: World) -> None:
    async with served(world, works=False, token="another-of-this-test") as (visitor, _):  # noqa: S106  # of a test
        await visitor.sign_in(token="another-of-this-test")  # noqa: S106  # of a test
        assert (await visitor.log()).status == 200
        key = visitor.session
    async with served(world, works=False) as (visitor, _):
        visitor.session = key
        assert (await visitor.log()).status == 403


async def test_a_session_that_is_over_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SESSION_SECONDS", -1)
    assert Sessions(TOKEN).sign_in(TOKEN, "ada") is None


async def test_without_a_token_nobody_signs_in(world: World) -> None:
    async with served(world, works=False, token=None) as (visitor, _):
        assert "Sign in" not in (await visitor.get("/")).text
        assert (await visitor.sign_in(token="")).status == 403
        assert (await visitor.get("/sign-in?token=")).status == 403


async def test_a_form_needs_the_session_and_a_page_of_ours(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        await visitor.sign_in()
        form = {"session": visitor.session}
        assert (await visitor.post("/sign-out", {})).status == 403
        assert (await visitor.post("/sign-out", {"session": visitor.session[::-1]})).status == 403
        in_other_ways = {"Cookie": f"session={visitor.session}", "Imi-Session": visitor.session}
        assert (await visitor.post("/sign-out", {}, **in_other_ways)).status == 403
        assert (await visitor.post("/sign-out", form, Origin="http://127.0.0.2")).status == 403
        assert (await visitor.post("/sign-out", form, Origin=f"http://127.0.0.1:{visitor.port + 1}")).status == 403
        assert (await visitor.post("/sign-out", form, **{"Sec-Fetch-Site": "same-site"})).status == 403
        assert (await visitor.post("/sign-out", form, **{"Sec-Fetch-Site": "cross-site"})).status == 403
        assert (await visitor.post("/sign-out", form)).status == 303


@pytest.mark.parametrize(("path", "leads_to"), [("/proof/audit", "/proof"), ("/sign-out", "/")])
async def test_who_signs_in_after_a_refused_form_goes_on_at_a_page(world: World, path: str, leads_to: str) -> None:
    async with served(world, works=False) as (visitor, _):
        refused = await visitor.post(path, {})
        assert refused.status == 403
        assert f'href="/sign-in?{urlencode({"to": path})}"' in refused.text
        found = await visitor.get(path)
        assert (found.status, found.headers["location"]) == (303, leads_to)


async def test_after_signing_in_nobody_is_sent_elsewhere(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        for to, expected in {
            "/events?entity=project": "/events?entity=project",
            "https://evil.example.com/": "/",
            "//evil.example.com/": "/",
            "/\\evil.example.com": "/",
            "/a\r\nX: y": "/",
        }.items():
            answer = await visitor.post("/sign-in", {"token": TOKEN, "name": "x", "to": to})
            assert f'data-to="{expected}"' in answer.text


async def test_the_log_tells_who_did_what_to_those_who_may_act(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        assert (await visitor.log()).status == 403
        await visitor.sign_in(name="<b>ada</b>\x1b[31m")
        assert "ada" not in (await visitor.get("/log", **{"Imi-Session": visitor.session})).text, "but in its piece"
        text = (await visitor.log()).text
        assert "&lt;b&gt;ada&lt;/b&gt;\\x1b[31m" in text
