"""The applier: commands from their stream, each carried out once and in order, and what becomes of bad ones."""
