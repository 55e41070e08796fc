"""What the registry returns: rows of its tables, and of the functions of the specification.

Field names, types and nullability are those of `migrations/001_create_schema.sql` and `002_functions_and_helpers.sql`.
Where an event has another name for the same value, JSON has both: `project_id` beside `id`, `type` beside `type_name`.
"""

from registry.models.activity import Activity, ActivityType, AgentWork
from registry.models.health import HealthCheck, RegistryMetadata, SlowQuery
from registry.models.host import DEFAULT_HOST, Host, HostCounts, ProjectHost
from registry.models.match import KINDS, Kind, RegistryMatch
from registry.models.project import LocatedProject, Project, ProjectMatch
from registry.models.row import Row
from registry.models.stats import RegistryStats
from registry.models.worktree import InflightWork, LocatedWorktree, ProjectInflightWork, Status, Worktree, WorktreeType

__all__ = [
    "DEFAULT_HOST",
    "KINDS",
    "Activity",
    "ActivityType",
    "AgentWork",
    "HealthCheck",
    "Host",
    "HostCounts",
    "InflightWork",
    "Kind",
    "LocatedProject",
    "LocatedWorktree",
    "Project",
    "ProjectHost",
    "ProjectInflightWork",
    "ProjectMatch",
    "RegistryMatch",
    "RegistryMetadata",
    "RegistryStats",
    "Row",
    "SlowQuery",
    "Status",
    "Worktree",
    "WorktreeType",
]
