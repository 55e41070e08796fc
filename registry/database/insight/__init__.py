"""What the registry answers as a whole: a search in all of it."""
