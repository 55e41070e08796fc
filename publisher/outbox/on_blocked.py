"""Who is told behind whom a connection of the publisher's own waits: whoever runs a command that works on one.

In a service nobody is: its examination tells what its parts wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.database.blockers import Session

ON_BLOCKED: ContextVar[Callable[[Session], None] | None] = ContextVar("ON_BLOCKED", default=None)
"""Is called with each session that holds a lock which is waited for, once it was for a second."""
