"""A database with the schema 2.0.0 as it was first shipped: found, looked through, and made one of ours."""

from registry.database.adoption.findings import Change, Decision, Plan, Undecided
from registry.database.adoption.original import is_original
from registry.database.adoption.replacement import replaced
from registry.database.adoption.upgrade import adopt, plan

__all__ = ["Change", "Decision", "Plan", "Undecided", "adopt", "is_original", "plan", "replaced"]
