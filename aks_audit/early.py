"""The first import of the program: from here on SIGTERM ends it with 0.

Until it forwards, nothing has begun that would have to end in order. But the imports take up to a
second, a signal that nobody handles ends a process with another status, and the first process of a
container does not even get it.
"""

import os
import signal
import threading
from types import FrameType


def end_at_once(_number: int, _frame: FrameType | None) -> None:
    """End the process, whatever it does just now.

    Not with `sys.exit`: the signal may come within a callback that drops what is raised in it.
    """
    os._exit(0)


def restore() -> None:
    """Leave SIGTERM to the system again: a command that is ended has not done its work."""
    if signal.getsignal(signal.SIGTERM) is end_at_once:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# Whoever imports the program for another purpose keeps a handler of its own.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
):
    signal.signal(signal.SIGTERM, end_at_once)
