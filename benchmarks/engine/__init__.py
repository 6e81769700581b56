"""Queues on PostgreSQL, side by side: `python -m benchmarks.engine`."""
