"""The ports: mypy checks here that the queue has each call, and the tests that it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.final import Config, Job, JobQueue, Status
from tests.support import insides
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from jobqueue.final.core.outcomes import Outcomes
    from jobqueue.final.model.handle import JobHandle
    from jobqueue.final.ports import Executor, Handle, Queue


def test_a_queue_and_its_handles_are_used_through_their_ports() -> None:
    queue: Queue = JobQueue(Config(num_workers=1, max_retries=0), start=False)
    with queue:
        queue.register("double", lambda payload: payload * 2)
        queue.register("fail", lambda payload: 1 / len(payload))
        queue.start()

        handle: Handle[object] = queue.enqueue(Job(b"ab", handler="double"), timeout=PATIENCE)
        (failed,) = queue.enqueue_many([Job(handler="fail")])

        assert handle.result(PATIENCE) == b"abab"
        assert failed.wait(PATIENCE) is Status.FAILED
        assert [info.id for info in queue.dead_letters()] == [failed.id]
        queue.discard(failed.id)
        assert queue.metrics().completed == 1


def test_a_handle_knows_the_type_of_its_result() -> None:
    def length_of_result(handle: Handle[bytes]) -> int:
        return len(handle.result(PATIENCE))

    def through_the_port(handle: JobHandle[bytes], attempts: Outcomes) -> tuple[int, Executor]:
        return length_of_result(handle), attempts  # what mypy has to accept

    with JobQueue(handler=bytes.upper) as queue:
        handle: JobHandle[bytes] = queue.enqueue(Job(b"ab"))  # type: ignore[assignment]  # typed tasks will know
        length, _ = through_the_port(handle, insides.outcomes(queue))
    assert length == 2
