"""Commands on the database as a whole: its schema, its upkeep, what comes in from elsewhere, how large it grows."""
