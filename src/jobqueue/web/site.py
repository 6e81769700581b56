"""All pages by their names, and the menu."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .pages import dead, handlers, job, jobs, overview, periodic

if TYPE_CHECKING:
    from collections.abc import Callable

    from .desk import Desk


class Page(NamedTuple):
    """A page.

    Attributes:
        show: what its template gets; `title` in it takes the place of this one.
    """

    title: str
    template: str
    show: Callable[[Desk, dict[str, str]], dict[str, Any]]


PAGES: dict[str, Page] = {
    "": Page("Overview", "overview.html", overview.show),
    "jobs": Page("Jobs", "jobs.html", jobs.show),
    "job": Page("Job", "job.html", job.show),
    "dead": Page("Dead letters", "dead.html", dead.show),
    "handlers": Page("Handlers", "handlers.html", handlers.show),
    "periodic": Page("Periodic", "periodic.html", periodic.show),
}
NAVIGATION = tuple((name, PAGES[name].title) for name in PAGES if name != "job")
