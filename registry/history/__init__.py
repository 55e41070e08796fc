"""History over NATS: pages of the outbox, snapshots, and the state they make."""
