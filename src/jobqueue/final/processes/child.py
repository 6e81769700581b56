"""What runs in a process of `executor="process"`: one attempt after another, as it is told.

Guarantees: it ends when the process that owns it does, however that ends. Ctrl-C, SIGTERM and
SIGHUP, which reach a whole process group, and the like are left to the owner to act on. If the main
thread cannot go on, the process ends at once and tells the owner why.
Relies on: nothing of the queue. It runs one attempt at a time, on its main thread.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from contextvars import Context
from functools import partial
from multiprocessing import spawn
from typing import TYPE_CHECKING, Any, NoReturn

from ..middleware import Layers, wrapped
from ..model.asked import asked_of
from ..model.context import RUNNING, Closing, JobContext, StopRequest, runs_attempts
from ..model.frozen_dict import FrozenDict
from ..model.handlers import Handler, HandlerWithin, name_of
from ..model.job import Job, Priority
from ..model.plan import Plan, Unique
from ..model.undone import DONE, refuse_undone
from ..runtime.parking import Parker
from ..runtime.reporting import begun_in_handler, describe
from . import wire
from .progress import ProgressTeller
from .wire import Assignment, Reference, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType


_F_SETSIG = 10  # Linux: fcntl has no name for it
_mask = threading.local()
_ORPHANED = 1  # exit code; the owner, which would read it, is gone


def main(work: int, orders: int, lifeline: int, form: int) -> None:
    """Serve the owner at the other end of these file descriptors, until told to exit."""
    os.environ.pop(wire.MARK, None)  # a program that a handler starts may have a queue, too
    _leave_signals_to_owner()
    for each in (work, orders, lifeline):
        os.set_inheritable(each, False)  # nor may it keep what tells of the end of this process
    _die_with_owner(lifeline)
    sockets = socket.socket(fileno=work), socket.socket(fileno=orders)
    server = _Server(*sockets)
    os.register_at_fork(after_in_child=lambda: _let_go(server, sockets, lifeline))
    threading.Thread(target=server.take_orders, name="jobqueue-orders", daemon=True).start()
    try:
        if form != wire.FORM:
            raise ImportError(
                f"the process has {__file__}, which is of another version than the queue that "
                f"started it; start the program again, so that it has one version"
            )
        server.start()
        server.serve()
    except BaseException as error:  # noqa: BLE001  # whatever it is: the owner waits for an answer
        server.give_up(error)  # guard: a process whose main thread fails ends and says why


def _leave_signals_to_owner() -> None:
    """Ignore signals here; programs that a handler starts, and forks of it, do not ignore them."""
    for number in wire.GROUP_SIGNALS:
        # One that the owner ignores, as SIGHUP under nohup, those programs ignore as well.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _take_no_notice)
    os.register_at_fork(
        before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_notice_again
    )
    signal.pthread_sigmask(signal.SIG_UNBLOCK, wire.GROUP_SIGNALS)


def _take_no_notice(number: int, frame: FrameType | None) -> None:
    del number, frame


def _block_signals() -> None:
    """Hold signals back until a fork that is being made no longer ignores them."""
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, wire.GROUP_SIGNALS)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _notice_again() -> None:
    for number in wire.GROUP_SIGNALS:
        if signal.getsignal(number) is _take_no_notice:
            is_ctrl_c = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)
    _unblock_signals()


def _die_with_owner(lifeline: int) -> None:
    """Have the kernel kill this process when the owner is gone, even amid a long call of C code."""
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def _let_go(server: _Server, sockets: tuple[socket.socket, ...], lifeline: int) -> None:
    """In a fork that a handler made: close what would hide its parent's end from the owner."""
    server.forked()
    for each in sockets:
        each.close()
    os.close(lifeline)


_PAYLOAD, _HEADERS, _PRIORITY, _PLAN = map(
    Job.__slots__.index, ("_payload", "_headers", "_priority", "_plan")
)


class _Server:
    """Loads handlers and runs attempts, as the owner tells it."""

    def __init__(self, work: socket.socket, orders: socket.socket) -> None:
        self._work = wire.Channel(work)
        self._orders = orders
        self._handlers: dict[int, Handler] = {}
        self._importer = _Importer()
        self._progress = ProgressTeller(self._work)
        self._assignment: Assignment | None = None  # of an attempt whose context was not made
        self._closing = Closing()
        self._lock = threading.Lock()  # guards the three below
        self._number = 0
        self._stop: StopRequest | None = None
        self._stopped = 0  # the last attempt that was told to stop; it may not have begun yet

    # ── the main thread ──────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start what handlers need beside them, before there are any."""
        self._progress.start()

    def forked(self) -> None:
        """This is a fork that a handler made."""
        self._progress.forked()

    def serve(self) -> None:
        """Do what the owner's frames say, until one says to exit."""
        runs_attempts(self._find_context)
        while True:
            try:
                kind, number, body = self._work.receive()
            except EOFError:
                os._exit(_ORPHANED)
            if kind == wire.EXIT:
                return
            if kind == wire.HELD:  # an exception from outside ended the call that waited for it
                continue
            self._answer(*self._do(kind, number, body))

    def _answer(self, kind: int, body: bytes) -> None:
        try:
            self._work.send(kind, 0, body)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(_ORPHANED)

    def give_up(self, error: BaseException) -> NoReturn:
        """End this process, whatever other threads do, and tell the owner why."""
        try:
            self._orders.send(describe(error)[0].encode()[: wire.REASON_BYTES_MAX])
            traceback.print_exception(error)
        finally:
            os._exit(wire.GAVE_UP)

    def _do(self, kind: int, number: int, body: bytes) -> tuple[int, bytes]:
        """Never raises because of what the user's code does."""
        try:
            if kind == wire.LOAD:
                reference = pickle.loads(body)
                self._closing.queue = reference.queue
                self._handlers[number] = self._importer.load(reference)
                return wire.LOADED, b""
            self._assignment = Assignment(*wire.unpacked(body))
            if self._assignment.closing:
                self._closing.begun = True
            result = Context().run(self._run, self._handlers[number], self._assignment)
            if type(result) not in DONE:
                refuse_undone(result, name_of(self._handlers[number].function))
        except BaseException as error:  # noqa: BLE001  # whatever a handler may raise
            return wire.RAISED, _pack(error)
        if result is None:
            return wire.RETURNED_NONE, b""
        try:
            return wire.RETURNED, pickle.dumps(result)
        except BaseException as error:  # noqa: BLE001  # its __reduce__ is the user's code
            return wire.RAISED, _pack_unpicklable(result, error)

    def _run(self, handler: Handler, assignment: Assignment) -> object:
        try:
            if not handler.is_equipped:  # its context is made if something asks for it
                return handler.function(assignment.job[_PAYLOAD])
            self._assignment = None
            context = self._begin(assignment)
            RUNNING.set(context)
            return handler.call(context.job.payload, context)
        finally:
            self._assignment = None
            if self._stop is not None:
                self._progress.end()
                with self._lock:
                    self._stop = None

    def _begin(self, assignment: Assignment) -> JobContext:
        """Make the context of an attempt, which can be told to stop from here on."""
        job = _made(assignment.job)
        stop = StopRequest(_sleep, self._closing)
        with self._lock:
            self._number, self._stop = assignment.number, stop
            # guard: look for a stop that came before its attempt
            if self._stopped >= assignment.number:
                stop.cancel()
        return JobContext(
            job, assignment.attempt, assignment.deadline, stop, self._progress.begin()
        )

    def _find_context(self) -> JobContext | None:
        """The context of the attempt that runs on the main thread, which calls this."""
        assignment, self._assignment = self._assignment, None
        return None if assignment is None else self._begin(assignment)

    # ── the thread that takes orders ─────────────────────────────────────────────────────────

    def take_orders(self) -> None:
        """Stop attempts as told; end this process when the owner's ends."""
        while True:
            order = self._orders.recv(wire.ORDER.size, socket.MSG_WAITALL)
            if len(order) < wire.ORDER.size:
                os._exit(_ORPHANED)
            (number,) = wire.ORDER.unpack(order)
            if number == wire.CLOSING:
                self._tell_of_closing()
                continue
            with self._lock:
                self._stopped = number
                # guard: a stop is for one attempt only
                #   without: if self._stop is not None:
                if self._stop is not None and self._number == number:
                    self._stop.cancel()

    def _tell_of_closing(self) -> None:
        self._closing.begun = True
        with self._lock:
            if self._stop is not None:
                self._stop.close()


def _sleep(parker: Parker, seconds: float) -> None:
    parker.park(seconds)


def _made(values: tuple[Any, ...]) -> Job:
    job = Job.__new__(Job)
    for slot, value in zip(Job.__slots__, values, strict=True):
        setattr(job, slot, value)
    job._headers, job._priority = FrozenDict(values[_HEADERS]), Priority(values[_PRIORITY])
    if values[_PLAN] is not None:
        key, unique, after, expires = values[_PLAN]
        job._plan = Plan(key, unique and Unique(*unique), after, expires)
    return job


class _Importer:
    """Imports handlers, the owner's main module included."""

    def __init__(self) -> None:
        self._has_main = False
        self._layers: Layers | None = None

    def load(self, reference: Reference) -> Handler:
        """Import a handler's module, find it there, and put the middleware around it."""
        sys.argv[:] = reference.argv
        wire.is_importing = True
        try:
            handler = Handler(self._find(reference))
            if not reference.middleware:
                return handler
            if self._layers is None:
                self._layers = Layers(map(self._find, reference.middleware))
            return HandlerWithin(handler, partial(wrapped, self._layers.attempt))
        finally:
            wire.is_importing = False

    def _find(self, reference: Reference) -> Callable[..., Any]:
        if reference.module == "__main__":
            self._make_main(reference.main)
        found: object = self._import(reference)
        for part in reference.qualname.split("."):
            found = getattr(found, part)
        if not callable(found):
            raise TypeError(
                f"{reference.module}.{reference.qualname} is no function in the process that is to "
                f"run it; have the module define it whenever it is imported"
            )
        return found

    def _import(self, reference: Reference) -> ModuleType:
        """The module, also if the owner found it in a working directory that it has left since.

        Raises:
            ModuleNotFoundError: it is not there; names where it was looked for.
        """
        roots = [root for root in reference.roots if root not in sys.path]
        try:
            return importlib.import_module(reference.module)
        except ModuleNotFoundError as error:
            if not f"{reference.module}.".startswith(f"{error.name}."):
                raise  # a module that this one imports
            if not roots:
                error.args = (
                    f"{error} in a process of the queue, which looks for modules in {sys.path}; "
                    f"the queue's own process has it from {', '.join(reference.roots) or '?'}",
                )
                raise
        sys.path += roots
        return self._import(reference)

    def _make_main(self, data: dict[str, str]) -> None:
        if not self._has_main:
            spawn.prepare(dict(data))
            self._has_main = True


# ── what is raised ───────────────────────────────────────────────────────────────────────────────


def _pack(error: BaseException) -> bytes:
    begun_in_handler(error)
    summary, trace = describe(error)
    pickled, problem = None, ""
    try:
        pickled = pickle.dumps(error)
    except BaseException as inner:  # noqa: BLE001  # its __reduce__ is the user's code
        problem = describe(inner)[0]
    asked = asked_of(error)
    return pickle.dumps(RemoteError(summary, trace, pickled, problem, asked.rejects, asked.delay))


def _pack_unpicklable(result: object, error: BaseException) -> bytes:
    summary, trace = describe(error)
    problem = f"the handler returned {type(result).__name__}, which cannot be pickled ({summary})"
    return pickle.dumps(RemoteError("", trace, None, problem, False, None))
