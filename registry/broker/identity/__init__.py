"""What a client of NATS proves who it is by: keys, and the files that secrets are in."""
