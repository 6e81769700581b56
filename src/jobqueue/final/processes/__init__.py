"""Handlers in other processes: `executor="process"`."""
