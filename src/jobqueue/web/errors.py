"""What ends a request early: each is a page with a sentence, and a status code."""

from __future__ import annotations


class PageError(Exception):
    """A request that gets no page; its text is shown."""

    status = 500
    title = "Something went wrong"


class RefusedError(PageError):
    """The request may not do this."""

    status = 403
    title = "Not allowed"


class WrongError(PageError):
    """The request asks for something that cannot be."""

    status = 400
    title = "That cannot be asked"


class MissingError(PageError):
    """There is no such thing."""

    status = 404
    title = "Not found"


class WrongMethodError(PageError):
    """A page is asked for by POST, or an action by GET."""

    status = 405
    title = "Not done that way"


class TooLargeError(PageError):
    """A form is larger than any that the dashboard makes."""

    status = 413
    title = "Too large"


class UnavailableError(PageError):
    """The queue cannot be asked for now."""

    status = 503
    title = "The queue does not answer"


class UnwrittenError(PageError):
    """The queue's log could not take a change."""

    status = 503
    title = "The log cannot be written"


class NotYetError(PageError):
    """The first look at all jobs takes some seconds."""

    status = 503
    title = "One moment"
