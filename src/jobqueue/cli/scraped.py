"""`jobqueue run --prometheus`: the queue's figures, served by prometheus_client's own server.

The server has threads of its own; each scrape is one.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .exits import CommandError, Exit
from .logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..final.job_queue import JobQueue

_HOST = "127.0.0.1"
_PORT_MAX = 65_535


@contextmanager
def scraped(where: str, queue: JobQueue) -> Iterator[None]:
    """Serve `/metrics` meanwhile: the queue's, and whatever the program itself has registered.

    Args:
        where: "PORT" or "HOST:PORT".

    Raises:
        CommandError: it is neither, it cannot be had, or prometheus_client is not installed.
    """
    try:
        from prometheus_client import REGISTRY, start_http_server

        from ..telemetry.prometheus import JobQueueCollector
    except ModuleNotFoundError:
        raise CommandError(
            Exit.USAGE,
            "--prometheus serves with prometheus_client, which is not installed: "
            "pip install 'jobqueue[prometheus]'",
        ) from None
    host, port = _address(where)
    collector = JobQueueCollector(queue)
    try:
        REGISTRY.register(collector)
    except ValueError:  # the program shows queues of its own, so this one, too, is its to show
        logger.info("--prometheus: the program has registered a collector of its own")
    else:
        logger.info("--prometheus: showing this queue as 'default'")
    try:
        server, thread = start_http_server(port, host)
    except OSError as error:
        raise CommandError(
            Exit.SYSTEM, f"--prometheus: {host}:{port} cannot be served: {error}"
        ) from None
    logger.info("--prometheus: http://%s:%d/metrics", host, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _address(where: str) -> tuple[str, int]:
    host, _, port = where.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) <= _PORT_MAX):
        raise CommandError(
            Exit.USAGE, f"--prometheus takes PORT or HOST:PORT, not {where!r}; 0 picks a free port"
        )
    return host.removeprefix("[").removesuffix("]") or _HOST, int(port)
