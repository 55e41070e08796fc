"""An embedded server that is started again when it dies: where it was, on what it had, and not without end.

with Supervised(partial(postgres, state_dir)) as server:
    ...  # server.url; and where somebody looks after it: if not server.is_running(): server.revive()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Event, Lock
from time import monotonic

from publisher.embedded.place import in_place
from publisher.embedded.process import EmbeddedServer, Start
from registry.concurrency.backoff import doubled
from registry.errors import RegistryError, Unavailable

MOST_DEATHS = 5
DEATHS_SECONDS = 60.0
"""What dies so often within so many seconds is not helped by one more start."""
AGAIN_SECONDS = (0.1, 2.0)
"""Shortest and longest wait before it is started again; the first time there is none."""


class Supervised:
    """A server that runs inside the block, and may be revived there. Its URL stays what it was."""

    def __init__(self, started: Callable[..., AbstractContextManager[EmbeddedServer]]) -> None:
        """`started` is `postgres` or `nats_server` with all its arguments but `start`."""
        self._started = started
        self._given_up = Event()
        self._changing = Lock()
        self._stack = ExitStack()
        self._server: EmbeddedServer
        self._deaths: list[float] = []

    def __enter__(self) -> Supervised:
        with self._changing:
            if self._given_up.is_set():
                raise Unavailable("a server was given up before it was started")
            self._server = self._stack.enter_context(self._started(start=Start(given_up=self._given_up)))
            self.url, self.name = self._server.url, self._server.name
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, in whatever state it is; one that is just being started, too."""
        self.give_up()
        with self._changing:
            self._stack.close()

    @property
    def pid(self) -> int:
        """The process that serves now, or did last."""
        return self._server.pid

    def is_running(self) -> bool:
        """Whether it is still there."""
        return self._server.is_running()

    def check_place(self) -> None:
        """Raise `Unusable` where another folder is at the place of its own: who connects there would reach another."""
        in_place(self._server.log.parent)

    def exit_reason(self) -> str:
        """Its last words."""
        return self._server.exit_reason()

    def give_up(self) -> None:
        """Have no server started any more; a `revive` in another thread ends soon."""
        self._given_up.set()

    def revive(self) -> None:
        """Start it again. Blocks, as long as the server takes for its recovery: not for an event loop.

        A start that fails counts as a death, since whatever killed the server may do so while it starts, and a port is
        taken for a moment by who tries to connect to it. Raises `Unavailable` with the last reason when there were
        `MOST_DEATHS` within `DEATHS_SECONDS`, or so many starts in a row that failed; as `check_place` does.
        """
        with self._changing:
            self.check_place()
            reason = f"{self.name} ended: {self.exit_reason()}"
            for _ in range(MOST_DEATHS):
                self._died(reason)
                if self._given_up.is_set():
                    break
                try:
                    self._stack.close()  # what is left of it
                    self._server = self._enter_again()
                except RegistryError as error:
                    reason = f"{self.name} ended, and cannot be started again: {error}"
                else:
                    return
            raise Unavailable(reason)

    def _died(self, reason: str) -> None:
        """Count a death, and wait a while behind the second and later ones. Raises `Unavailable` for one too many."""
        now = monotonic()
        self._deaths = [at for at in self._deaths if now - at < DEATHS_SECONDS] + [now]
        if len(self._deaths) >= MOST_DEATHS:
            raise Unavailable(f"{reason}; it was the {MOST_DEATHS}th time within {DEATHS_SECONDS:g} s")
        if len(self._deaths) > 1:
            self._given_up.wait(doubled(len(self._deaths) - 2, AGAIN_SECONDS))

    def _enter_again(self) -> EmbeddedServer:
        """Raises `RegistryError`, also where it came up at another place than before."""
        server = self._stack.enter_context(self._started(start=Start(is_again=True, given_up=self._given_up)))
        if server.url != self.url:
            self._stack.close()
            raise Unavailable(f"it has another port or secret than before; see the files beside {server.log}")
        return server


@contextmanager
def together(first: Supervised, *others: Supervised, meanwhile: Callable[[], object] | None = None) -> Iterator[None]:
    """All of them run inside the block. They are started side by side, and `meanwhile` is called: each mostly waits.

    The first is started by this thread, which signals interrupt. Where one does not start, or something is raised
    meanwhile, none is left: who leaves gives up the others, and waits until what had begun has ended.
    """
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(len(others) + 1, "start"))
        for server in others:
            stack.push(server)
        begun = [threads.submit(server.__enter__) for server in others]
        called = threads.submit(meanwhile or _nothing)
        stack.enter_context(first)
        for start in begun:
            start.result()
        called.result()
        yield


def _nothing() -> None:
    """There is nothing to do meanwhile."""
