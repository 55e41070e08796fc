"""The registry's database: typed access to it, its pool, its migrations."""

from typing import TYPE_CHECKING

from registry.deferred import deferred

if TYPE_CHECKING:
    from registry.database.registry import Registry

__all__ = ["Registry"]

__getattr__ = deferred(__name__, "registry.database.registry", frozenset(__all__))
"""With it come a pool and a model of each row, which a plain connection needs not."""
