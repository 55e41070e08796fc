"""The outbox as PostgreSQL holds it: its rows, the cursor, the lead, the doorbell, the record, retention."""
