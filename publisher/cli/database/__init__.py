"""Commands on the database as a whole: its schema, its upkeep, and what comes in from elsewhere."""
