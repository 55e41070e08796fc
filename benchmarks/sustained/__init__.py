"""How much each way to get changes out keeps up with, and what it costs."""
