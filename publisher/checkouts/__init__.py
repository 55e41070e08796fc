"""Git checkouts: found on disk, asked what they are, and brought into the registry."""
