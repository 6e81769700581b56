"""The dashboard of a queue, served beside what a command does otherwise."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..web.security import Access, AccessCheck

ACCESS = ("read", "write")
PORT = 8099
PORT_MAX = 65535


def port_number(text: str) -> int:
    """A port as it stands on the command line."""
    if not text.isascii() or not text.isdigit() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; one is 0 to {PORT_MAX}")
    return int(text)


def add_access(parser: argparse._ActionsContainer, prefix: str = "") -> None:
    """Add what there is to say of who may do what."""
    parser.add_argument(
        f"--{prefix}host",
        metavar="HOST",
        default="127.0.0.1",
        help="where the dashboard listens (default: %(default)s); beyond this machine, say also "
        f"--{prefix}access",
    )
    parser.add_argument(
        f"--{prefix}access",
        choices=ACCESS,
        help="what everybody may do who reaches the dashboard: look (default), or steer as well. "
        "It asks for no password",
    )
    parser.add_argument(
        f"--{prefix}payloads",
        action="store_true",
        help="also show payloads and results, which may be nobody else's business",
    )


def is_this_machine(host: str) -> bool:
    """Whether nobody beyond this machine reaches what listens there."""
    from ..web.security import is_loopback

    return is_loopback(host)


def _everybody(access: Access) -> AccessCheck:
    return lambda _request: access


@contextmanager
def serve(
    queue: Any,
    host: str,
    port: int,
    access: Access | None,
    *,
    payloads: bool,
    option: str = "--access",
) -> Iterator[Any]:
    """Serve a queue's dashboard, to the end of the block.

    Args:
        access: what everybody may do; `None` is "read", and on this machine only.
        option: the one by which that is said.

    Raises:
        CommandError: what it is made of is not installed, or it cannot be served there.
    """
    try:
        from ..web import as_text, serve_dashboard
    except ModuleNotFoundError as error:
        raise CommandError(
            Exit.USAGE,
            f"the dashboard needs {error.name}, which is not installed: "
            "pip install 'jobqueue[cli,web]'",
        ) from None
    try:
        server = serve_dashboard(
            queue,
            host=host,
            port=port,
            access=None if access is None else _everybody(access),
            payload=as_text if payloads else None,
        )
    except ValueError:
        raise CommandError(
            Exit.USAGE,
            f"{host} is reached from beyond this machine: say what everybody may do there, by "
            f"{option} read or {option} write; or leave the host out",
        ) from None
    except OSError as error:
        raise CommandError(
            Exit.SYSTEM, f"the dashboard cannot be served at {host}, port {port}: {error}"
        ) from None
    with server:
        yield server
