"""The threads that run attempts."""
