"""The roles of the registry: what they may do, who has them, and what an administrator has to do about them."""

from registry.database.roles.membership import grant, revoke
from registry.database.roles.setup import set_up, steps
from registry.database.roles.state import ROLES, Roles, roles_of
from registry.database.roles.step import Step

__all__ = ["ROLES", "Roles", "Step", "grant", "revoke", "roles_of", "set_up", "steps"]
