"""`imi-registry` with a lane that opens behind a short backlog, as an outage of seconds leaves it."""

from __future__ import annotations

from publisher.cli.main import main
from publisher.relay import lane

if __name__ == "__main__":
    lane.LEAST_BACKLOG = 10
    lane.LOOK_SECONDS = 0.0
    main()
