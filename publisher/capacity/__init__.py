"""Capacity: what a rate of writes needs of disks, processors and publishers, out of measured figures."""
