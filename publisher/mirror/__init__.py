"""The mirror: follows the events of another registry, and keeps its tables as they are there."""
