"""Tasks and lanes: what may run at once, and what must wait for what."""
