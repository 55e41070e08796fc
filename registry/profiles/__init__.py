"""Naming profiles: what events and commands are called on the wire, and in which stream they are."""
