"""What an operator runs: the relay (outbox to stream), the applier (commands to schema), the service, the CLI."""
