"""The admin page of background jobs: a list, actions on jobs, and pauses of handlers.

It asks the queue, in this process or over its socket, never the database. `view` permission is
enough to look, actions need `change`. Whose thread: that of the request, which waits for the queue.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.timezone import localtime

from ...final import JobQueueError, Status, UnknownJobError
from .models import BackgroundJob
from .queues import DEFAULT, backend_class, queues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.http import HttpRequest, HttpResponse

    from ...final import JobInfo, JobQueue

PAGE = 100
"""Jobs a page."""
PAYLOAD_CHARACTERS_MAX = 4000
_LIST = "jobqueue_backgroundjob_changelist"
_TEMPLATES = "admin/jobqueue/backgroundjob"


def _requeue(queue: JobQueue, job_id: str) -> bool:
    queue.requeue(job_id)
    return True


def _discard(queue: JobQueue, job_id: str) -> bool:
    queue.discard(job_id)
    return True


def _run_now(queue: JobQueue, job_id: str) -> bool:
    return queue.run_now(ids=[job_id]) == 1


ACTIONS: dict[str, tuple[str, Callable[[JobQueue, str], bool]]] = {
    "requeue": ("Queue failed jobs again", _requeue),
    "cancel": ("Cancel", lambda queue, job_id: queue.cancel(job_id)),
    "discard": ("Discard failed jobs", _discard),
    "run_now": ("Run scheduled jobs now", _run_now),
}


@admin.register(BackgroundJob)
class BackgroundJobAdmin(admin.ModelAdmin):
    """Lists the jobs of a queue and steers them."""

    def get_queryset(self, request: HttpRequest) -> Any:
        """Nothing: there is no table."""
        return BackgroundJob.objects.none()

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """None, likewise: so there is no history."""
        return None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Jobs are added by the project's code."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What may go is dropped by an action."""
        return False

    # ── the list ─────────────────────────────────────────────────────────────────────────────

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; a POST is an action."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        alias = _alias(request)
        if request.method == "POST":
            self._act(request, queues.get(alias))
            return HttpResponseRedirect(request.get_full_path())
        context = self._context(request, "Background jobs", alias)
        try:
            context |= _page(request, queues.get(alias))
        except (JobQueueError, LookupError, ValueError) as error:
            messages.error(request, str(error))
        context |= extra_context or {}
        return TemplateResponse(request, f"{_TEMPLATES}/jobs.html", context)

    def _context(self, request: HttpRequest, title: str, alias: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "may_change": self.has_change_permission(request),
            "actions": {name: label for name, (label, _) in ACTIONS.items()},
            "alias": alias,
            "aliases": _aliases(),
        }

    def _act(self, request: HttpRequest, queue: JobQueue) -> None:
        if not self.has_change_permission(request):
            raise PermissionDenied
        action = request.POST.get("action", "")
        try:
            if action in {"pause", "resume"}:
                _steer(request, queue, action)
            elif action in ACTIONS:
                _change(request, queue, action, request.POST.getlist("job"))
            else:
                messages.warning(request, "No action was selected.")
        except (JobQueueError, ValueError) as error:
            messages.error(request, str(error))

    # ── one job ──────────────────────────────────────────────────────────────────────────────

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """What the queue knows of a job; a POST is an action on it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        alias, job_id = _alias(request), unquote(object_id)
        queue = queues.get(alias)
        if request.method == "POST":
            self._act(request, queue)
            return HttpResponseRedirect(request.get_full_path())
        try:
            info = queue.info(job_id)
        except UnknownJobError:
            raise Http404(f"no job has the id {job_id!r}, or it was forgotten") from None
        except JobQueueError as error:  # as if no process has the log open: the list says it, too
            messages.error(request, str(error))
            pages = reverse(f"{self.admin_site.name}:{_LIST}")
            return HttpResponseRedirect(f"{pages}?{urlencode({'queue': alias})}")
        context = self._context(request, f"Background job {job_id}", alias)
        context |= {"job": _shown(info), "info": info, "payload": _payload(info)}
        context |= extra_context or {}
        return TemplateResponse(request, f"{_TEMPLATES}/job.html", context)


def _aliases() -> list[str]:
    """The queues of the settings."""
    configured = getattr(settings, "TASKS", {})
    return [DEFAULT, *(each for each in configured if each != DEFAULT and backend_class(each))]


def _alias(request: HttpRequest) -> str:
    alias: str = request.GET.get("queue", DEFAULT)
    if alias not in _aliases():
        raise Http404(f"there is no queue {alias!r}")
    return alias


def _page(request: HttpRequest, queue: JobQueue) -> dict[str, Any]:
    """What the list shows: the jobs that pass its filters, and the handlers."""
    wanted = {name: request.GET.get(name, "").strip() for name in ("status", "handler", "text")}
    like: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    found = queue.jobs(limit=PAGE + 1, before=request.GET.get("before") or None, **like)
    paused, metrics = queue.paused(), queue.metrics()
    older = None
    if len(found) > PAGE:
        kept = {name: value for name, value in request.GET.items() if name != "before"}
        older = urlencode({**kept, "before": found[PAGE - 1].id})
    return {
        "jobs": [_shown(each) for each in found[:PAGE]],
        "older": older,
        "wanted": wanted,
        "statuses": [each.value for each in Status],
        "metrics": metrics,
        "handlers": [
            {"info": each, "is_paused": each.name in paused.handlers} for each in queue.handlers()
        ],
        "is_paused": paused.all,
    }


def _shown(info: JobInfo) -> dict[str, Any]:
    """A job as the pages tell of it: Django's tasks by their path."""
    return {
        "id": info.id,
        "status": info.status.value,
        "what": info.headers.get("task") or info.handler or "default handler",
        "priority": info.priority.name.lower(),
        "retries": info.retries,
        "created": _time(info.created),
        "started": _time(info.started),
        "finished": _time(info.finished),
        "due": _time(info.due),
        "error": info.last_error,
    }


def _time(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return localtime(moment) if settings.USE_TZ else moment


def _payload(info: JobInfo) -> str | None:
    if info.payload is None:
        return None
    return info.payload.decode("utf-8", "backslashreplace")[:PAYLOAD_CHARACTERS_MAX]


def _change(request: HttpRequest, queue: JobQueue, action: str, ids: Iterable[str]) -> None:
    label, function = ACTIONS[action]
    done, refused = 0, []
    for job_id in ids:
        try:
            if function(queue, job_id):
                done += 1
            else:
                refused.append(job_id)
        except (UnknownJobError, ValueError):  # it is not as it was when the page was shown
            refused.append(job_id)
    if not done and not refused:
        messages.warning(request, "No jobs were selected.")
    if done:
        messages.success(request, f"{label}: {done} done.")
    if refused:
        messages.warning(request, f"{label}: not possible for {', '.join(refused)}.")


def _steer(request: HttpRequest, queue: JobQueue, action: str) -> None:
    handler = request.POST.get("handler") or None
    (queue.pause if action == "pause" else queue.resume)(handler=handler)
    what = "The queue" if handler is None else f"Handler {handler}"
    messages.success(request, f"{what}: {action}d.")
