"""Questions about the registry as a whole."""
