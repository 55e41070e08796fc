"""The console: what the registry holds and does, in a browser; and what may be done about it, with a token."""
