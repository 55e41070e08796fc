"""NATS: connections, the translation of its errors, and consumers that read in order."""
