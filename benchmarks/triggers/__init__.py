"""Forms of the triggers that write events, which benchmarks hold against those that are there."""
