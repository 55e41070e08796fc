"""What is typed behind a command: options, names and times, what they mean, and what cannot be meant."""
