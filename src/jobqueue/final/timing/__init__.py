"""Time: the timer, its wheel, and backoff."""
