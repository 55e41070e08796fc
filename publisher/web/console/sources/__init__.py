"""What the console shows comes from here: a few connections of its own, time limits, and answers that are bounded."""
