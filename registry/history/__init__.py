"""What the history is: pages of the outbox, snapshots, and the state they make. Asking for it: `registry.client`."""
