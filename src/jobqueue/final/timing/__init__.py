"""When: the timer, its wheel, and backoff."""
