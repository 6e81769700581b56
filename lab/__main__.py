"""`python -m lab`."""

import sys

from .command import main

if __name__ == "__main__":  # the processes of an experiment may import this module
    sys.exit(main())
