"""The command `jobqueue`: runs a queue's jobs; looks into its log, and mends it.

entry.py        the way in, also if what it prints with is not installed
worker.py       `run`: opens a queue and serves it
target.py       what `module:name` stands for
suited.py       settings for programs that serve
logs.py         log records as text or JSON
reload.py       `run --reload`: starts the worker anew when its code changes
command.py      the parser, and which error ends in which exit code
output.py       what is printed arrives, or the command says that it did not
access.py       finding a log; reading one that may be in use; locking one to change it
live.py         a steady view of files that a queue is writing to
changes.py      appending to a log and compacting it, as a queue does
jobs.py         what a log knows of each job, as a person asks for it
screen.py       what is printed, and that nothing in a log can harm a terminal
owner.py        asking the queue that has a log open
dashboard.py    `web`: of such a queue, of a log that is closed, or of a demonstration
serving.py      the dashboard beside a command
stopped.py      a log that is closed, as a queue tells of itself; reading.py counts for it
watching.py     `log watch`; looks.py has what it shows, logged.py looks at a log
completion.py   `completion`: what shells need

inspection.py   `inspect`        catalogue.py    `cat`        examination.py  `verify`
salvage.py      `repair`         compaction.py   `compact`    dead.py         `dead`
steering.py     `cancel`, `discard`, `pause`, `resume`
"""

from .entry import main

__all__ = ["main"]
