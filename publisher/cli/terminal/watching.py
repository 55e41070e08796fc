"""The same look again and again, live on the terminal or as lines, until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from registry.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_SECONDS = 2.0


async def watched(look: Callable[[], Awaitable[RenderableType]]) -> None:
    """Show what each look returns in place of the one before; a server that is away is shown, and looked for again."""
    from rich.live import Live

    from publisher.cli.terminal.text import console, safe

    with Live(console=console(), auto_refresh=False) as live:
        while True:
            try:
                shown = await look()
            except Unavailable as error:
                shown = safe(f"!! {error}")
            live.update(shown, refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)


async def repeated(look: Callable[[], Awaitable[None]]) -> None:
    """Look again and again; what there is to say, `look` says."""
    while True:
        await look()
        await asyncio.sleep(REFRESH_SECONDS)
