"""`imi-registry replica …` at either side of a pair."""

from __future__ import annotations

from tests.support.commandline import CommandLine, Done
from tests.support.replica.pairs import Pair


class Commands:
    """The commands of one pair."""

    def __init__(self, cli: CommandLine, registries: Pair) -> None:
        self.cli = cli
        self._registries = registries

    def source(self, name: str, *arguments: str) -> Done:
        """A command at the source."""
        return self.cli("replica", name, *arguments, "--database-url", self._registries.source)

    def replica(self, name: str, *arguments: str, source: str | None = None) -> Done:
        """A command at the replica, which knows the source by its own URL unless another one is given."""
        there = ["--source", source or self._registries.source]
        return self.cli("replica", name, *arguments, *there, "--database-url", self._registries.replica)

    def create(self, *arguments: str, source: str | None = None) -> Done:
        """Make the replica."""
        return self.replica("create", "headquarters", "--slot", self._registries.slot, *arguments, source=source)

    def condition(self) -> dict[str, object]:
        """What `status` says of the replica."""
        found: dict[str, object] = self.replica("status", "--json").json["replica"]
        return found
