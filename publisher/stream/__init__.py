"""The event stream in JetStream: how it is opened, written to behind a fence, and read at its tail."""
