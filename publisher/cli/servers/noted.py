"""What a command did is written into the log of actions, which the console shows."""

from __future__ import annotations

from publisher.cli.servers.session import located, run
from publisher.cli.terminal.text import say
from registry.errors import RegistryError


def noted(nats_url: str | None, who: str, what: str, about: str, outcome: str) -> None:
    """Note that `who` did this. It is done: where the log cannot be written, no more than that is said."""
    from publisher.actions import Actions, entry_of
    from publisher.settings import profile_of
    from registry.broker.connection import connect_nats

    settings = located("nats_url", nats_url=nats_url)

    async def work() -> None:
        async with connect_nats(settings.nats_url or "", "imi-registry actions", settings.nats_access) as client:
            await Actions(client, profile_of(settings).letters).add(entry_of("cli", who, what, about, outcome))

    try:
        run(work())
    except RegistryError as error:
        say(f"done, but not in the log of actions: {error}")
