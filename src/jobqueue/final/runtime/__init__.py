"""Time, locking, sleeping and reporting."""
