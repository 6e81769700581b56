"""A module whose import waits for a test to let it go on; see `Stage`."""

import os

from tests.support import process_handlers

VARIABLE = "JOBQUEUE_TEST_STAGE"
"""Set to the directory of the stage, if there is one."""

if VARIABLE in os.environ:
    stage = os.fsencode(os.environ[VARIABLE])
    process_handlers.say(stage, "importing")
    process_handlers.await_go(stage)


def handler(payload: bytes) -> str:
    return "imported"
