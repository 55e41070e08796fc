"""The relay: one process leads and drains the outbox into the stream, the others stand by."""
