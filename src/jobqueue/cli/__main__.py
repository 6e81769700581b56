"""`python -m jobqueue.cli`: the command where its script is not on the path."""

import sys

from .entry import main

sys.exit(main())
