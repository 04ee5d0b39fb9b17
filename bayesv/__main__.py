"""So that ``python -m bayesv`` is the command line."""

import sys

from bayesv.cli import main

if __name__ == "__main__":
    sys.exit(main())
