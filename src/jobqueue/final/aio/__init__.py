"""Coroutines: the calls that are awaited, and coroutine functions as handlers."""
