"""Ways to get changes out of PostgreSQL, side by side: the outbox of this registry, and readers of the WAL."""
