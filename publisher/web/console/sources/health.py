"""Health of the console's own parts: they keep nothing from flowing, so `/readyz` is none of their business."""

from __future__ import annotations

from publisher.health import Health


class QuietHealth(Health):
    """Tells what is wrong to the console alone."""

    def problems(self) -> list[str]:
        """None: events and commands flow without a console."""
        return []

    def reason(self) -> str:
        """Why the server cannot be asked now; empty when it can, or when that is not known yet."""
        return "; ".join(super().problems())
