"""The token of the page is changed as docs/security.md says: another `IMI_HTTP_TOKEN`, one service after the other."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.support.relay_process import RelayProcess
from tests.support.web.console import Visitor
from tests.support.world import World

OLD, NEW = "token-until-today", "token-from-today"


async def visitor_of(process: RelayProcess) -> Visitor:
    return Visitor(urlsplit((await process.ready())["http_url"]).port or 0)


async def may_act(visitor: Visitor) -> bool:
    """Whether the visitor's session holds: the log of actions is for those who may act."""
    return (await visitor.log()).status == 200


async def test_a_new_token_ends_the_old_one_and_its_sessions_where_it_is_set_and_nowhere_else(world: World) -> None:
    with world.process(http_token=OLD) as first, world.process(http_token=OLD) as second:
        visitor, elsewhere = await visitor_of(first), await visitor_of(second)
        for one in (visitor, elsewhere):
            assert (await one.sign_in(token=OLD)).status == 200
            assert await may_act(one)
            assert (await one.sign_in(token=NEW)).status == 403
        first.stop()
        await first.exit_code()

        with world.process(http_token=NEW, http_port=visitor.port) as again:
            await again.ready()
            assert not await may_act(visitor)
            assert (await visitor.sign_in(token=OLD)).status == 403
            assert (await visitor.sign_in(token=NEW)).status == 200
            assert await may_act(visitor)
            assert (await visitor.act("/sign-out", {})).status == 303
            assert await may_act(elsewhere)
            assert (await elsewhere.sign_in(token=NEW)).status == 403
