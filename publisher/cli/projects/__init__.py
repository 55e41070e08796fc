"""Commands on a project that is there: whether it is in use, and which id it has."""
