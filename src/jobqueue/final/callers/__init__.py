"""What a caller's thread does: it is let in, changes jobs, asks."""
