"""Handlers for an event loop: coroutine functions, and plain ones that run in threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..middleware import wrapped
from ..model.handlers import Handler, HandlerWithin

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..middleware import Layers


def loop_handler(layers: Layers, function: Callable[..., object]) -> Handler:
    """The handler of a function, within the layers that are for its kind.

    Raises:
        TypeError: it cannot be called in either form.
    """
    handler = Handler(function, coroutines=True)
    around = layers.aattempt if handler.is_async else layers.attempt
    return HandlerWithin(handler, partial(wrapped, around)) if around else handler
