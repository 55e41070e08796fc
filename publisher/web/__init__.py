"""What the service shows over HTTP: health, metrics, the status page."""
