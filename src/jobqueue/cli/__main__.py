"""`python -m jobqueue.cli`: the command, if its script is not on the path."""

import sys

from .entry import main

sys.exit(main())
