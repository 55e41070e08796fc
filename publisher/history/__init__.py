"""What the outbox and the stream remember: served to readers, rebuilt, archived, verified."""
