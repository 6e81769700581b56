"""Closes database connections around each attempt, as Django does around each request.

A worker thread lives long. A connection that it kept would be one that the database has closed
meanwhile, or that `CONN_MAX_AGE` says is too old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from ...final import Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...final import JobContext


class Connections(Middleware):
    """Around each attempt, on the thread that runs it."""

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        """Of a plain function."""
        close_old_connections()
        try:
            return call_next(context)
        finally:
            close_old_connections()

    async def aattempt(
        self, context: JobContext, call_next: Callable[[JobContext], Awaitable[object]]
    ) -> object:
        """Of a coroutine function."""
        # Where Django runs the database calls of coroutines, and so has their connections.
        await sync_to_async(close_old_connections)()
        try:
            return await call_next(context)
        finally:
            await sync_to_async(close_old_connections)()
