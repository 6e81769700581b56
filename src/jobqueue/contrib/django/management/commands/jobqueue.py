"""`manage.py jobqueue`: runs the project's jobs, and looks into their log."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from .....cli import main
from .....cli.suited import no_worker, tell_start
from .....final import Config
from .....final.serving import run
from ...queues import DEFAULT, Options, given_options, queues

if TYPE_CHECKING:
    import argparse


class Command(BaseCommand):
    """The command and its four parts."""

    help = "Runs the project's background jobs, and looks into their log."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the parts."""
        parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
        about = {
            "run": "run the jobs, until SIGTERM or Ctrl-C",
            "inspect": "how many jobs there are, and where they stand",
            "dead": "list the jobs that have failed",
            "requeue": "run failed jobs again",
        }
        for name, summary in about.items():
            part = parts.add_parser(name, help=summary)
            part.add_argument("--backend", default=DEFAULT, help="alias in TASKS (%(default)s)")
            if name == "requeue":
                part.add_argument("ids", nargs="+", metavar="ID", help="'all' is every one")
            elif name != "run":
                part.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what was asked for; the exit codes are those of `jobqueue`."""
        part, alias = options["part"], options["backend"]
        try:
            config = Options.of(given_options(alias)).config
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if part == "run":
            why = no_worker(config, "'share': 'auto'")
            if why is not None:
                raise CommandError(why)
            queue = queues.get(alias, start=False)
            tell_start(alias, queue)
            sys.exit(run(queue))
        if not isinstance(config, Config):
            raise CommandError("the queue is on PostgreSQL, so there is no log to look into")
        if config.persist_path is None:
            raise CommandError("the queue is in memory: there is no log; set its persist_path")
        command = ["log", "inspect" if part == "inspect" else "dead"]
        command.append(os.fspath(config.persist_path))
        command += ["--allow-shared"] if config.allow_shared else []
        command += ["--json"] if options.get("json") else []
        for each in options.get("ids", ()):
            command += ["--requeue", each]
        code = main(command)
        if code:
            sys.exit(code)
