"""The guards of the final tier that `tests/mutants.py` takes out, one at a time.

A guard is in here with the text that makes it and the text that is left without it. Not in here,
since another guard makes up for them:

- The loop around the wait of the log's thread (`LogWriter._sleep`): `_begin` looks again at what
  comes out of it, and `_run` is a loop. What is taken out is the look before the wait.
- `LogWriter.check` of a log that has failed: in the same step the queue's gate is shut.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """Something that the code does so that a promise holds.

    Attributes:
        name: what it is.
        file: where, within `src/jobqueue/final`.
        old: a text that is there exactly once.
        new: what takes its place.
        tests: files with some that notice.
        slow: whether those are among the slow ones.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    slow: bool = False


def _wal(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/final/wal/test_{name}.py" for name in names)


def _final(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/final/test_{name}.py" for name in names)


def _crash(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/crash/test_{name}.py" for name in names)


FSYNCS = (
    Guard(
        "fdatasync, the call itself",
        "wal/files.py",
        "            os.fdatasync(fd)\n",
        "            pass\n",
        _wal("files"),
    ),
    Guard(
        "fdatasync of what was written",
        "wal/segment.py",
        'self._files.sync(self._fd)\n\n    def finish(self) -> None:\n        """Cut',
        'pass\n\n    def finish(self) -> None:\n        """Cut',
        _wal("segment"),
    ),
    Guard(
        "fdatasync of what was copied into the map",
        "wal/segment.py",
        'self._files.sync(self._fd)\n\n    def finish(self) -> None:\n        """Unmap',
        'pass\n\n    def finish(self) -> None:\n        """Unmap',
        _wal("segment"),
    ),
    Guard(
        "acknowledgement only after the fdatasync",
        "wal/log_thread.py",
        "                if batch.awaited or batch.has_calls():  # of a caller that was interrupted\n"
        "                    return True\n",
        "                pass\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "acknowledgement by a caller that leads only after its fdatasync",
        "wal/writer.py",
        "            self._tail.sync()\n            self._synced()\n",
        "            self._synced()\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "a failed fsync is remembered",
        "wal/tail.py",
        "            self.fsync_failure = error  # before",
        "            pass  # before",
        _crash("failed_fsync"),
    ),
    Guard(
        "fsync of a directory, the call itself",
        "wal/files.py",
        "            os.fsync(fd)\n        finally:\n",
        "            pass\n        finally:\n",
        _wal("files"),
    ),
    Guard(
        "fsync of the parent of a new directory",
        "wal/files.py",
        "            self.create_directory(path)\n            self.sync_directory(parent)\n",
        "            self.create_directory(path)\n",
        _wal("files"),
    ),
    Guard(
        "fsync of the parent of an empty directory",
        "wal/files.py",
        "                self.sync_directory(parent)\n",
        "                pass\n",
        _wal("files"),
    ),
    Guard(
        "fsync of a new segment's header",
        "wal/segment.py",
        "        files.sync(fd)\n        files.sync_directory(directory_of(path))\n",
        "        files.sync_directory(directory_of(path))\n",
        _wal("segment"),
    ),
    Guard(
        "directory fsync after a segment was created",
        "wal/segment.py",
        "        files.sync(fd)\n        files.sync_directory(directory_of(path))\n",
        "        files.sync(fd)\n",
        _wal("segment"),
    ),
    Guard(
        "fsync of a snapshot before its rename",
        "wal/compact.py",
        "        files.sync(fd)\n",
        "",
        _wal("compact"),
    ),
    Guard(
        "directory fsync after a snapshot's rename",
        "wal/compact.py",
        "    files.rename(temporary, path)\n    files.sync_directory(directory_of(path))\n",
        "    files.rename(temporary, path)\n",
        _wal("compact"),
    ),
    Guard(
        "first fsync of sealing",
        "wal/tail.py",
        "        self.sync()\n        self._append(encode_batch((),",
        "        self._append(encode_batch((),",
        _wal("tail"),
    ),
    Guard(
        "second fsync of sealing",
        "wal/tail.py",
        "        self.sync()\n        self._is_sealed = True\n",
        "        self._is_sealed = True\n",
        _wal("tail"),
    ),
    Guard(
        "fsync of the last segment at a start",
        "wal/replay.py",
        "        _sync(files, file.path)\n",
        "        pass\n",
        _wal("recover"),
    ),
    Guard(
        "directory fsync before replaced files go",
        "wal/replay.py",
        "then the rest.\n        files.sync_directory(directory)\n",
        "then the rest.\n        pass\n",
        _wal("recover"),
    ),
    Guard(
        "directory fsync at the end of a recovery",
        "wal/replay.py",
        "        _sync(files, file.path)\n    files.sync_directory(directory)\n",
        "        _sync(files, file.path)\n",
        _wal("recover"),
    ),
)

READING = (
    Guard(
        "checksum test of batches in a row",
        "wal/scan.py",
        "            if list(map(crc32, covered)) != crcs:\n",
        "            if False:\n",
        _wal("scan"),
    ),
    Guard(
        "checksum test of a batch beside damage",
        "wal/scan.py",
        "if start >= 0 and crc32(head, crc32(before[start:])) == crc:",
        "if start >= 0:",
        _wal("scan"),
    ),
    Guard(
        "sequence test: the next number comes next",
        "wal/replay.py",
        "            if number == self.last + 1:\n",
        "            if number > self.last:\n",
        _wal("replay"),
    ),
    Guard(
        "sequence test within batches in a row",
        "wal/replay.py",
        "    while stop < len(numbers) and numbers[stop] == numbers[stop - 1] + 1:\n",
        "    while stop < len(numbers):\n",
        _wal("replay"),
    ),
    Guard(
        "sequence test from segment to segment",
        "wal/replay.py",
        "        elif header.first != self.last + 1:\n",
        "        elif False:\n",
        _wal("replay"),
    ),
    Guard(
        "a repetition is an exact one",
        "wal/replay.py",
        " and self._crcs[number - self._first] == crc\n",
        "\n",
        _wal("replay"),
    ),
    Guard(
        "`synced`: what was promised is no torn tail",
        "wal/replay.py",
        "        if self._attested > self.last:\n",
        "        if False:\n",
        _wal("replay"),
    ),
    Guard(
        "`synced`: what was not is no corruption",
        "wal/replay.py",
        "        if self._attested > self.last:\n",
        "        if True:\n",
        _wal("replay"),
    ),
    Guard(
        "a batch attests earlier ones only",
        "wal/replay.py",
        "        if True in impossible:\n",
        "        if False:\n",
        _wal("replay"),
    ),
    Guard(
        "a number that was seen is no new job",
        "wal/state.py",
        "                elif not self._is_new(number):\n",
        "                elif False:\n",
        _wal("state"),
    ),
)

FILES = (
    Guard(
        "copy before truncation",
        "wal/replay.py",
        "    copies = [copy for cut in cuts if cut.keep and (copy := _keep_copy(files, cut))]\n",
        "    copies: list[str] = []\n",
        _wal("recover"),
    ),
    Guard(
        "fsync of the copy before truncation",
        "wal/replay.py",
        "            files.sync(copy)\n",
        "",
        _wal("recover"),
    ),
    Guard(
        "directory fsync of the copy before truncation",
        "wal/replay.py",
        "    if copies:\n        files.sync_directory(directory)\n",
        "",
        _wal("recover"),
    ),
    Guard(
        "the last file is cut first",
        "wal/replay.py",
        "    for cut in reversed(cuts):\n",
        "    for cut in cuts:\n",
        _wal("recover"),
    ),
    Guard(
        "truncation of a write that broke off",
        "wal/segment.py",
        "            self._files.truncate(self._fd, self.position)\n",
        "            pass\n",
        _wal("segment"),
    ),
    Guard(
        "flock",
        "wal/files.py",
        "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        pass\n",
        _wal("files"),
    ),
    Guard(
        "a forked child lets go of the lock",
        "lifecycle.py",
        "            self._log.files.close(self._lock)  # an inherited",
        "            pass  # an inherited",
        _crash("fork"),
        slow=True,
    ),
    Guard(
        "exclusive creation",
        "wal/files.py",
        "os.O_RDWR | os.O_CREAT | os.O_EXCL",
        "os.O_RDWR | os.O_CREAT",
        _wal("files"),
    ),
    Guard(
        "O_NOFOLLOW",
        "wal/files.py",
        'getattr(os, "O_NOFOLLOW", 0)',
        "0",
        _wal("files"),
    ),
    Guard(
        "files for their owner alone",
        "wal/files.py",
        "_FILE_MODE = 0o600",
        "_FILE_MODE = 0o644",
        _wal("files"),
    ),
)

WAITS = (
    Guard(
        "loop around the wait of a worker",
        "scheduler.py",
        "            self._waking = False\n        return",
        "            self._waking = False\n            return self.take_ready()\n        return",
        _final("scheduler"),
    ),
    Guard(
        "look before the wait of the log's thread",
        "wal/log_thread.py",
        "        return bool(self._open.urgent or self._flushes or",
        "        return bool(",
        _crash("failed_fsync"),
    ),
    Guard(
        "loop around the wait for room",
        "admission.py",
        "                wait.sleep(alarm)\n",
        "                wait.sleep(alarm)\n"
        "                with mutex:\n"
        "                    return self._accept(handle, lane, 0.0)\n",
        _final("admission"),
    ),
    Guard(
        "loop around the wait of a second close",
        "lifecycle.py",
        "            if not acquire_within(alarm, deadline - SystemClock.monotonic()):\n"
        "                return False\n",
        "            acquire_within(alarm, deadline - SystemClock.monotonic())\n"
        "            return False\n",
        _final("races"),
    ),
    Guard(
        "loop around the wait for a job's end",
        "inspection.py",
        "                    if alarm in (current._waiters or ()):\n"
        "                        waiters.remove(alarm)\n",
        "                    if alarm in (current._waiters or ()):\n"
        "                        waiters.remove(alarm)\n"
        "            return current\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "look before the wait for a batch",
        "wal/batch.py",
        "            if not self.done:\n",
        "            if True:\n",
        _wal("batch"),
    ),
    Guard(
        "look before the wait for the queue's rest",
        "quiet.py",
        "                if condition():\n                    return True\n",
        "",
        _final("quiet"),
    ),
    Guard(
        "look before a handler sleeps",
        "stop.py",
        "            if self.requested:\n                return True\n",
        "",
        _final("worker"),
    ),
    Guard(
        "look before the timer's thread sleeps",
        "timer.py",
        "        self._asleep_until = _NEVER  # before looking, so that no change is missed\n",
        "",
        _final("testing"),
    ),
    Guard(
        "who leaves a wait for room passes his turn on",
        "admission.py",
        "                lane.wake_producer()  # in case",
        "                pass  # in case",
        _final("races"),
    ),
    Guard(
        "nobody copies beside the log's thread",
        "wal/writer.py",
        "            and self._writing is None\n",
        "",
        _final("races"),
    ),
    Guard(
        "a caller that led and was interrupted hands over to the log's thread",
        "wal/writer.py",
        "                self._leader = None  # at once",
        "                pass  # at once",
        _final("races"),
    ),
    Guard(
        "no caller leads beside the log's thread",
        "wal/writer.py",
        "        is_free = self._leader is None and self._writing is None\n",
        "        is_free = self._writing is None\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "a signal handler above a caller that leads does not wait for it",
        "wal/writer.py",
        "        if self.leads():\n            raise reentered()\n",
        "",
        _crash("signals"),
    ),
    Guard(
        "a wake-up that was interrupted leaves no alarm behind",
        "mutex.py",
        "            self._sleepers.remove(alarm)\n",
        "            pass\n",
        _final("mutex"),
    ),
    Guard(
        "a forked child's worker goes home",
        "lifecycle.py",
        "        self._dispatch.scheduler.stopped = True  # where",
        "        pass  # where",
        _crash("fork"),
    ),
    Guard(
        "a worker that was woken wakes the next",
        "scheduler.py",
        "        if handle is not None and self._idle and not self._waking and self._has_more():\n",
        "        if False:\n",
        _final("scheduler"),
    ),
)

RUNNING = (
    Guard(
        "a worker that finds nothing more tells who waits for that",
        "worker.py",
        "                elif dispatch.quiet.watchers:\n",
        "                elif False:\n",
        _final("lifecycle"),
    ),
    Guard(
        "a worker asks whether anybody is left to make room",
        "admission.py",
        "                        self._pool.enter_wait(worker, handle._job)\n",
        "                        pass\n",
        _final("admission"),
    ),
    Guard(
        "setting of a job's slot",
        "worker.py",
        "            dispatch.slots.set(self.slot, handle._number)\n",
        "            pass\n",
        _crash("poison"),
    ),
    Guard(
        "clearing of a job's slot",
        "outcomes.py",
        "            self.dispatch.slots.clear(worker.slot)\n",
        "            pass\n",
        _crash("poison"),
    ),
    Guard(
        "a handler that close gave up is not blamed",
        "lifecycle.py",
        "                self._dispatch.slots.clear_all()",
        "                pass",
        _crash("poison"),
    ),
    Guard(
        "a death is counted once",
        "recovery.py",
        " or each.crashed_run == log.interrupted.run:\n",
        ":\n",
        _crash("poison"),
    ),
    Guard(
        "a suspect runs alone",
        "scheduler.py",
        "        if self.lone is None and self.count_running() == 0:\n",
        "        if self.lone is None:\n",
        _final("scheduler"),
    ),
    Guard(
        "a failed log takes nothing more",
        "wal/log_thread.py",
        "            self.failure = error\n",
        "",
        _crash("failed_fsync"),
    ),
    Guard(
        "a failed log shuts the queue",
        "lifecycle.py",
        "            self._gate.fault = fault\n            self._gate.shut = True\n",
        "",
        _crash("failed_fsync"),
    ),
    Guard(
        "outcomes move on from a batch that failed",
        "wal/log_thread.py",
        "            self._open.records[:0] = batch.outcomes()\n",
        "",
        _crash("full_disk"),
    ),
    Guard(
        "close waits for space for accepted jobs",
        "wal/log_thread.py",
        "            return self._awaits_space()\n",
        "            return False\n",
        _crash("full_disk"),
    ),
    Guard(
        "fencing of a late result",
        "outcomes.py",
        "        if self.gate.abandoned:\n"
        "            return\n"
        "        self._end_attempt(worker, handle, now)\n"
        "        self._status.complete",
        "        self._end_attempt(worker, handle, now)\n        self._status.complete",
        _final("lifecycle"),
    ),
    Guard(
        "fencing of a late error",
        "outcomes.py",
        "        with self.dispatch.mutex:\n"
        "            if self.gate.abandoned:\n"
        "                return\n",
        "        with self.dispatch.mutex:\n",
        _final("lifecycle"),
    ),
    Guard(
        "refill of a lane's tokens",
        "scheduler.py",
        "        lane.tokens = self.fairness\n        if overtaken",
        "        if overtaken",
        _final("scheduler"),
    ),
    Guard(
        "a lane's tokens are spent",
        "scheduler.py",
        "                low.tokens -= 1\n            return high",
        "                pass\n            return high",
        _final("scheduler"),
    ),
    Guard(
        "a place in the lane is taken",
        "admission.py",
        "                lane.room -= 1\n            if self",
        "                pass\n            if self",
        _final("admission"),
    ),
    Guard(
        "a forked child gives none of its parent's ids away",
        "ids.py",
        "        if process != os.getpid():\n",
        "        if not process:\n",
        _crash("fork"),
    ),
    Guard(
        "a producer gives way to who has claimed the mutex",
        "admission.py",
        "            await_turn(mutex)\n",
        "            pass\n",
        _final("mutex"),
    ),
    Guard(
        "a producer takes only its own claim back",
        "admission.py",
        "                if mutex.claimant is claim:\n",
        "                if True:\n",
        _final("mutex"),
    ),
    Guard(
        "a worker that waits claims nothing",
        "mutex.py",
        "        if mutex.claimant is WORKER:\n            mutex.claimant = None\n",
        "",
        _final("mutex"),
    ),
    Guard(
        "a signal handler's call is refused",
        "mutex.py",
        "        raise reentered()\n",
        "        pass\n",
        _crash("signals"),
    ),
)

PROCESSES = (
    Guard(
        "no process is killed for an attempt that has ended",
        "process.py",
        "            if not self._is_over:\n",
        "            if True:\n",
        _final("process_life"),
        slow=True,
    ),
    Guard(
        "look for a stop that came before its attempt",
        "process_child.py",
        "            if self._stopped >= assignment.number:\n                stop.cancel()\n",
        "",
        _final("process_life"),
        slow=True,
    ),
    Guard(
        "a stop is for one attempt only",
        "process_child.py",
        "if self._stop is not None and self._number == number:",
        "if self._stop is not None:",
        _final("process_life"),
        slow=True,
    ),
    Guard(
        "busy processes are killed by close",
        "process.py",
        "        for process in busy:\n            process.kill()\n",
        "",
        _final("process_life"),
        slow=True,
    ),
    Guard(
        "no process is started after close",
        "process.py",
        "        if self._closed:\n            raise QueueClosedError",
        "        if False:\n            raise QueueClosedError",
        _final("process_life"),
        slow=True,
    ),
    Guard(
        "an idle process that has died is not used",
        "process.py",
        "                    if process.is_alive():\n",
        "                    if True:\n",
        _final("process"),
        slow=True,
    ),
    Guard(
        "no fork while a process is started",
        "process_owner.py",
        "_no_fork, ExitStack() as its",
        "ExitStack() as its",
        _final("process_life"),
        slow=True,
    ),
    Guard(
        "a forked child closes its copies",
        "process_owner.py",
        "        self._opened.close()\n        self._process.returncode",
        "        self._process.returncode",
        _final("process_life"),
        slow=True,
    ),
)

GUARDS = (*FSYNCS, *READING, *FILES, *WAITS, *RUNNING, *PROCESSES)
