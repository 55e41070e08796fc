"""The registry's database: typed access to it, its pool, its migrations."""

from registry.database.registry import Registry

__all__ = ["Registry"]
