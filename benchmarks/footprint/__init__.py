"""What it takes to be there: memory and idle CPU of `serve`, and how long all that is started takes to start."""
