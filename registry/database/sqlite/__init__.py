"""iMi's old SQLite database, taken into a registry: docs/migration_sqlite_to_postgres.md."""

from registry.database.sqlite.choices import Choices
from registry.database.sqlite.report import Problem, Report
from registry.database.sqlite.transfer import transfer

__all__ = ["Choices", "Problem", "Report", "transfer"]
