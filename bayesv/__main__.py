"""The command ``bayesv``, also ``python -m bayesv``: interrupts end it in a word at any time."""

import _thread
import atexit
import contextlib
import gc
import os
import signal
import sys
import threading

from bayesv.support.exit import INTERRUPTED

__all__ = ["main"]

# Python's own thresholds look for garbage so often that compiling takes a sixth longer.
_GARBAGE = (50_000, 20, 20)
_SOON = 0.02  # seconds, after which a finaliser is done


def main() -> int:
    """Read the command line's modules and run it; return its exit code."""
    gc.set_threshold(*_GARBAGE)
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # else the shell wants interrupts to be ignored
        signal.signal(signal.SIGINT, _stop)
    from bayesv.cli import main as run

    signal.signal(signal.SIGINT, usual)
    sys.unraisablehook = _interrupt_again
    code = run()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is written: the end is the end
    if code == INTERRUPTED:
        _leave(code)
    if threading.active_count() == 1:  # nobody is to be waited for
        atexit._run_exitfuncs()
        _leave(code)
    return code


def _leave(code: int) -> None:
    """End the process at once: Python takes half a second to take compiled loops apart."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # its reader may be gone
            stream.flush()
    os._exit(code)


def _stop(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Interrupt once more where Ctrl-C struck a finaliser, out of which no exception comes."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        from threading import Timer

        Timer(_SOON, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(lost)


if __name__ == "__main__":
    sys.exit(main())
