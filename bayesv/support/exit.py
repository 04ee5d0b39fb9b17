"""How the process ends."""

import signal

__all__ = ["INTERRUPTED"]

INTERRUPTED = 128 + signal.SIGINT  # as shells say it
