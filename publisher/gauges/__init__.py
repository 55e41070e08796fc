"""Gauges: what outbox, streams and consumers hold, measured again and again, whoever leads."""
