"""Registries agree on the ids of projects: in a bucket of NATS that needs a quorum stands which id an origin has."""
