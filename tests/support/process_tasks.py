"""Tasks for processes, which import this module to find them."""

from __future__ import annotations

from jobqueue.tasks import Tasks

tasks = Tasks()


@tasks.task
def note(text: str) -> str:
    return text


@tasks.task(name="fan_out", atomic=True, max_retries=0)
def fan_out(count: int, delay: float, fails: bool = False) -> int:
    """Enqueues jobs when it returns: `child-0`, …"""
    for number in range(count):
        note.using(id=f"child-{number}", delay=delay).enqueue(f"{number}")
    if fails:
        raise ValueError
    return count


@tasks.task(max_retries=0)
def enqueue_at_once(text: str) -> str:
    return note.enqueue(text).id
