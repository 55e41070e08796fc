"""What people see: tables, lines, replay at the pace it happened, timelines."""
