"""Benchmarks: each figure is a ratio within one run, to a bare baseline and to what a user would take instead."""
