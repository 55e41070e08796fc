"""What a component of the pipeline imports: models, events, commands, subjects, database access, client."""
