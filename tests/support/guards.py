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
    return tuple(_test_file("tests/final/wal", name) for name in names)


def _final(*names: str) -> tuple[str, ...]:
    return tuple(_test_file("tests/final", name) for name in names)


def _crash(*names: str) -> tuple[str, ...]:
    return tuple(_test_file("tests/crash", name) for name in names)


def _test_file(folder: str, name: str) -> str:
    room, _, last = name.rpartition("/")
    return "/".join(part for part in (folder, room, f"test_{last}.py") if part)


FSYNCS = (
    Guard(
        "fdatasync, the call itself",
        "wal/files.py",
        "            failed, number = map(call, calls)\n",
        "            failed = 0\n",
        _wal("files"),
    ),
    Guard(
        "fdatasync of what was appended",
        "wal/appender.py",
        "        return self._files.sync(self._fd)\n",
        "        return 0\n",
        _wal("appender"),
    ),
    Guard(
        "acknowledgement only after the fdatasync",
        "wal/writing/log_thread.py",
        "                if batch.awaited or batch.has_calls():  # of a caller that was interrupted\n"
        "                    return True\n",
        "                pass\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "acknowledgement by a caller that leads only after its fdatasync",
        "wal/writing/writer.py",
        "            self._active.sync()\n            self._synced()\n",
        "            self._synced()\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "a failed fsync is remembered",
        "wal/writing/active_segment.py",
        "        self.fsync_errno = self._appender.sync()  # at once: no interruption of a caller hides it\n"
        "        if self.fsync_errno:\n            raise FsyncError(self.fsync_errno)\n",
        "        number = self._appender.sync()\n"
        "        if number:\n            raise FsyncError(number)\n",
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
        "wal/appender.py",
        "        files.sync_or_raise(fd)\n        files.sync_directory(directory_of(path))\n",
        "        files.sync_directory(directory_of(path))\n",
        _wal("appender"),
    ),
    Guard(
        "directory fsync after a segment was created",
        "wal/appender.py",
        "        files.sync_or_raise(fd)\n        files.sync_directory(directory_of(path))\n",
        "        files.sync_or_raise(fd)\n",
        _wal("appender"),
    ),
    Guard(
        "fsync of a snapshot before its rename",
        "wal/maintenance/snapshot.py",
        "        files.sync_or_raise(fd)\n",
        "",
        _wal("maintenance/snapshot"),
    ),
    Guard(
        "directory fsync after a snapshot's rename",
        "wal/maintenance/snapshot.py",
        "    files.rename(temporary, path)\n    files.sync_directory(directory_of(path))\n",
        "    files.rename(temporary, path)\n",
        _wal("maintenance/snapshot"),
    ),
    Guard(
        "first fsync of sealing",
        "wal/writing/active_segment.py",
        "        self.sync()\n        self._append(encode_batch((),",
        "        self._append(encode_batch((),",
        _wal("writing/active_segment"),
    ),
    Guard(
        "second fsync of sealing",
        "wal/writing/active_segment.py",
        "        self.sync()\n        self._is_sealed = True\n",
        "        self._is_sealed = True\n",
        _wal("writing/active_segment"),
    ),
    Guard(
        "fsync of the last segment at a start",
        "wal/reading/cut.py",
        "        _sync(files, file.path)\n",
        "        pass\n",
        _wal("reading/cut"),
    ),
    Guard(
        "directory fsync before replaced files go",
        "wal/reading/cut.py",
        "then the rest.\n        files.sync_directory(directory)\n",
        "then the rest.\n        pass\n",
        _wal("reading/cut"),
    ),
    Guard(
        "directory fsync at the end of a recovery",
        "wal/reading/cut.py",
        "        _sync(files, file.path)\n    files.sync_directory(directory)\n",
        "        _sync(files, file.path)\n",
        _wal("reading/cut"),
    ),
)

READING = (
    Guard(
        "checksum test of batches in a row",
        "wal/reading/scan.py",
        "            if list(map(crc32, covered)) != crcs:\n",
        "            if False:\n",
        _wal("reading/scan"),
    ),
    Guard(
        "checksum test of a batch beside damage",
        "wal/reading/scan.py",
        "if start >= 0 and crc32(head, crc32(before[start:])) == crc:",
        "if start >= 0:",
        _wal("reading/scan"),
    ),
    Guard(
        "sequence test: the next number comes next",
        "wal/reading/replay.py",
        " and event.batches.numbers[0] == self.last + 1:\n",
        " and event.batches.numbers[0] > self.last:\n",
        _wal("reading/replay"),
    ),
    Guard(
        "sequence test within batches in a row",
        "wal/reading/walk.py",
        "    while stop < len(numbers) and numbers[stop] == numbers[stop - 1] + 1:\n",
        "    while stop < len(numbers):\n",
        _wal("reading/replay"),
    ),
    Guard(
        "sequence test from segment to segment",
        "wal/reading/replay.py",
        "        elif event.first != self.last + 1:\n",
        "        elif False:\n",
        _wal("reading/replay"),
    ),
    Guard(
        "a repetition is an exact one",
        "wal/reading/batch_numbers.py",
        "return self._crc_of(number) == crc or (number, crc) in self._others\n",
        "return self.has_number(number)\n",
        _wal("reading/replay"),
    ),
    Guard(
        "`synced`: what was promised is no torn tail",
        "wal/reading/replay.py",
        "        if self._attested > self.last:\n",
        "        if False:\n",
        _wal("reading/replay"),
    ),
    Guard(
        "`synced`: what was not is no corruption",
        "wal/reading/replay.py",
        "        if self._attested > self.last:\n",
        "        if True:\n",
        _wal("reading/replay"),
    ),
    Guard(
        "a batch attests earlier ones only",
        "wal/reading/walk.py",
        "    if True in impossible:\n",
        "    if False:\n",
        _wal("reading/replay"),
    ),
    Guard(
        "a number that was seen is no new job",
        "wal/reading/fold.py",
        "                elif not self._is_new(number):\n",
        "                elif False:\n",
        _wal("reading/fold"),
    ),
)

FILES = (
    Guard(
        "copy before truncation",
        "wal/reading/cut.py",
        "    copies = [copy for cut in cuts if cut.keep and (copy := _keep_copy(files, cut))]\n",
        "    copies: list[str] = []\n",
        _wal("reading/cut"),
    ),
    Guard(
        "fsync of the copy before truncation",
        "wal/reading/cut.py",
        "            files.sync_or_raise(copy)\n",
        "",
        _wal("reading/cut"),
    ),
    Guard(
        "directory fsync of the copy before truncation",
        "wal/reading/cut.py",
        "    if copies:\n        files.sync_directory(directory)\n",
        "",
        _wal("reading/cut"),
    ),
    Guard(
        "the last file is cut first",
        "wal/reading/cut.py",
        "    for cut in reversed(cuts):\n",
        "    for cut in cuts:\n",
        _wal("reading/cut"),
    ),
    Guard(
        "truncation of a write that broke off",
        "wal/appender.py",
        "            self._files.truncate(self._fd, position)\n",
        "            pass\n",
        _wal("appender"),
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
        "life/shutdown.py",
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
        "core/scheduler.py",
        "            self._waking = False\n        return",
        "            self._waking = False\n            return self.take_ready()\n        return",
        _final("core/scheduler"),
    ),
    Guard(
        "look before the wait of the log's thread",
        "wal/writing/log_thread.py",
        "        return bool(self._open.urgent or self._flushes or",
        "        return bool(",
        _crash("failed_fsync"),
    ),
    Guard(
        "loop around the wait for room",
        "callers/admission.py",
        "                wait.sleep(alarm)\n",
        "                wait.sleep(alarm)\n"
        "                with mutex:\n"
        "                    return self._accept(handle, lane, 0.0)\n",
        _final("callers/admission"),
    ),
    Guard(
        "loop around the wait of a second close",
        "life/shutdown.py",
        "            if not acquire_within(alarm, deadline - SystemClock.monotonic()):\n"
        "                return False\n",
        "            acquire_within(alarm, deadline - SystemClock.monotonic())\n"
        "            return False\n",
        _final("races"),
    ),
    Guard(
        "loop around the wait for a job's end",
        "callers/queries.py",
        "                    if alarm in (current._waiters or ()):\n"
        "                        waiters.remove(alarm)\n",
        "                    if alarm in (current._waiters or ()):\n"
        "                        waiters.remove(alarm)\n"
        "            return current\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "look before the wait for a batch",
        "wal/writing/batch.py",
        "            if not self.done:\n",
        "            if True:\n",
        _wal("writing/batch"),
    ),
    Guard(
        "look before the wait for the queue's rest",
        "core/watchers.py",
        "                if condition():\n                    return True\n",
        "",
        _final("core/watchers"),
    ),
    Guard(
        "look before a handler sleeps",
        "model/context.py",
        "            if self.requested:\n                return True\n",
        "",
        _final("workers/worker"),
    ),
    Guard(
        "look before the timer's thread sleeps",
        "timing/timer.py",
        "        self._asleep_until = _NEVER  # before looking, so that no change is missed\n",
        "",
        _final("testing"),
    ),
    Guard(
        "who leaves a wait for room passes his turn on",
        "callers/admission.py",
        "                lane.wake_producer()  # in case",
        "                pass  # in case",
        _final("races"),
    ),
    Guard(
        "nobody copies beside the log's thread",
        "wal/writing/writer.py",
        "            and self._writing is None\n",
        "",
        _final("races"),
    ),
    Guard(
        "a caller that led and was interrupted hands over to the log's thread",
        "wal/writing/writer.py",
        "                self._leader = None  # at once",
        "                pass  # at once",
        _final("races"),
        slow=True,
    ),
    Guard(
        "no caller leads beside the log's thread",
        "wal/writing/writer.py",
        "        is_free = self._leader is None and self._writing is None\n",
        "        is_free = self._writing is None\n",
        _crash("failed_fsync"),
    ),
    Guard(
        "a signal handler above a caller that leads does not wait for it",
        "wal/writing/writer.py",
        "        if self.leads():\n            raise reentered()\n",
        "",
        _crash("signals"),
    ),
    Guard(
        "a wake-up that was interrupted leaves no alarm behind",
        "runtime/mutex.py",
        "            self._sleepers.remove(alarm)\n",
        "            pass\n",
        _final("runtime/mutex"),
    ),
    Guard(
        "a forked child's worker goes home",
        "life/shutdown.py",
        "        self._dispatch.scheduler.stopped = True  # where",
        "        pass  # where",
        _crash("fork"),
    ),
    Guard(
        "a worker that was woken wakes the next",
        "core/scheduler.py",
        "        if handle is not None and self._idle and not self._waking and self._has_more():\n",
        "        if False:\n",
        _final("core/scheduler"),
    ),
)

RUNNING = (
    Guard(
        "a worker that finds nothing more tells who waits for that",
        "workers/worker.py",
        "                elif dispatch.quiet.watchers:\n",
        "                elif False:\n",
        _final("life/shutdown"),
    ),
    Guard(
        "a worker asks whether anybody is left to make room",
        "callers/admission.py",
        "                        self._seats.enter_wait(seat, handle._job)\n",
        "                        pass\n",
        _final("callers/admission"),
    ),
    Guard(
        "setting of a job's slot",
        "core/outcomes.py",
        "            dispatch.slots.set(seat.slot, handle._number)\n",
        "            pass\n",
        _crash("poison"),
    ),
    Guard(
        "clearing of a job's slot",
        "core/outcomes.py",
        "            self.dispatch.slots.clear(seat.slot)\n",
        "            pass\n",
        _crash("poison"),
    ),
    Guard(
        "a handler that close gave up is not blamed",
        "life/shutdown.py",
        "                self._dispatch.slots.clear_all()",
        "                pass",
        _crash("poison"),
    ),
    Guard(
        "a death is counted once",
        "life/recovery.py",
        " or each.crashed_run == log.interrupted.run:\n",
        ":\n",
        _crash("poison"),
    ),
    Guard(
        "a suspect runs alone",
        "core/scheduler.py",
        "        if self.lone is None and self.count_running() == 0:\n",
        "        if self.lone is None:\n",
        _final("core/scheduler"),
    ),
    Guard(
        "a failed log takes nothing more",
        "wal/writing/log_thread.py",
        "            self.failure = error\n",
        "",
        _crash("failed_fsync"),
    ),
    Guard(
        "a failed log shuts the queue",
        "life/shutdown.py",
        "        self._state.fail(fault)\n",
        "",
        _crash("failed_fsync"),
    ),
    Guard(
        "outcomes move on from a batch that failed",
        "wal/writing/log_thread.py",
        "            self._open.records[:0] = batch.outcomes()\n",
        "",
        _crash("full_disk"),
    ),
    Guard(
        "close waits for space for accepted jobs",
        "wal/writing/log_thread.py",
        "            return self._awaits_space()\n",
        "            return False\n",
        _crash("full_disk"),
    ),
    Guard(
        "fencing of a late result",
        "core/outcomes.py",
        "        if self.state.now >= _ENDED:\n"
        "            return\n"
        "        self._end_attempt(seat, handle, now)\n"
        "        self._status.complete",
        "        self._end_attempt(seat, handle, now)\n        self._status.complete",
        _final("life/shutdown"),
    ),
    Guard(
        "fencing of a late error",
        "core/outcomes.py",
        "        with self.dispatch.mutex:\n"
        "            if self.state.now >= _ENDED:\n"
        "                return\n",
        "        with self.dispatch.mutex:\n",
        _final("life/shutdown"),
    ),
    Guard(
        "refill of a lane's tokens",
        "core/scheduler.py",
        "        lane.tokens = self.fairness\n        if overtaken",
        "        if overtaken",
        _final("core/scheduler"),
    ),
    Guard(
        "a lane's tokens are spent",
        "core/scheduler.py",
        "                low.tokens -= 1\n            return high",
        "                pass\n            return high",
        _final("core/scheduler"),
    ),
    Guard(
        "a place in the lane is taken",
        "callers/admission.py",
        "                lane.room -= 1\n            if self",
        "                pass\n            if self",
        _final("callers/admission"),
    ),
    Guard(
        "a forked child gives none of its parent's ids away",
        "model/ids.py",
        "        if process != os.getpid():\n",
        "        if not process:\n",
        _crash("fork"),
    ),
    Guard(
        "a producer gives way to who has claimed the mutex",
        "callers/admission.py",
        "            await_turn(mutex)\n",
        "            pass\n",
        _final("runtime/mutex"),
    ),
    Guard(
        "a producer takes only its own claim back",
        "callers/admission.py",
        "                if mutex.claimant is claim:\n",
        "                if True:\n",
        _final("runtime/mutex"),
    ),
    Guard(
        "a worker that waits claims nothing",
        "runtime/mutex.py",
        "        if mutex.claimant is WORKER:\n            mutex.claimant = None\n",
        "",
        _final("runtime/mutex"),
    ),
    Guard(
        "a signal handler's call is refused",
        "runtime/mutex.py",
        "        raise reentered()\n",
        "        pass\n",
        _crash("signals"),
    ),
)

PROCESSES = (
    Guard(
        "no process is killed for an attempt that has ended",
        "processes/executor.py",
        "            if not self._is_over:\n",
        "            if True:\n",
        _final("processes/owner"),
        slow=True,
    ),
    Guard(
        "look for a stop that came before its attempt",
        "processes/child.py",
        "            if self._stopped >= assignment.number:\n                stop.cancel()\n",
        "",
        _final("processes/owner"),
        slow=True,
    ),
    Guard(
        "a stop is for one attempt only",
        "processes/child.py",
        "if self._stop is not None and self._number == number:",
        "if self._stop is not None:",
        _final("processes/owner"),
        slow=True,
    ),
    Guard(
        "busy processes are killed by close",
        "processes/executor.py",
        "        for process in busy:\n            process.kill()\n",
        "",
        _final("processes/owner"),
        slow=True,
    ),
    Guard(
        "no process is started after close",
        "processes/executor.py",
        "        if self._closed:\n            raise QueueClosedError",
        "        if False:\n            raise QueueClosedError",
        _final("processes/owner"),
        slow=True,
    ),
    Guard(
        "an idle process that has died is not used",
        "processes/executor.py",
        "                    if process.is_alive():\n",
        "                    if True:\n",
        _final("processes/executor"),
        slow=True,
    ),
    Guard(
        "no fork while a process is started",
        "processes/owner.py",
        "_no_fork, ExitStack() as its",
        "ExitStack() as its",
        _final("processes/owner"),
        slow=True,
    ),
    Guard(
        "a forked child closes its copies",
        "processes/owner.py",
        "        self._opened.close()\n        self._process.returncode",
        "        self._process.returncode",
        _final("processes/owner"),
        slow=True,
    ),
)

GUARDS = (*FSYNCS, *READING, *FILES, *WAITS, *RUNNING, *PROCESSES)
