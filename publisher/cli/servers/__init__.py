"""The servers a command works on: those given by URL, or those of an `imi-registry up`."""
