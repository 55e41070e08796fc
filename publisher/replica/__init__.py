"""The replica: a copy of another registry's tables by PostgreSQL's logical replication, set up and watched."""
