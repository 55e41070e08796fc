"""mq-bridge as a process of its own: a route from the configuration on standard input, until SIGTERM."""

from __future__ import annotations

import json
import signal
import sys


def main() -> None:
    """Run the route."""
    from mq_bridge import Route

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    route = Route.from_config(json.load(sys.stdin))
    route.start()
    signal.sigwait({signal.SIGTERM})
    route.stop()
    route.join()


if __name__ == "__main__":
    main()
