"""Hosts, and which projects and worktrees are on which."""
