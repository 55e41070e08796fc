"""The data of each event: one model per event and version, as the triggers of migrations/003_outbox.sql write it."""
