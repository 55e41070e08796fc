"""Whether database, stream and history fit together, and what to do where they do not."""

from publisher.doctor.examination import SESSION, Examination, connections, examine, examined
from publisher.doctor.findings import Finding, Findings

__all__ = ["SESSION", "Examination", "Finding", "Findings", "connections", "examine", "examined"]
