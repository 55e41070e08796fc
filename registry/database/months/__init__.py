"""The log of agents by month: from one table into partitions and back (docs/adr/0021-months.md)."""

from registry.database.months.move import cancel, move
from registry.database.months.parts import drop, make_ahead
from registry.database.months.state import MONTHS, Ends, Month, State, ends, state

__all__ = ["MONTHS", "Ends", "Month", "State", "cancel", "drop", "ends", "make_ahead", "move", "state"]
