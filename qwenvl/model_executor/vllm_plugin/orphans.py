"""vLLM's processes end with the one that started them, also where that one is killed.

vLLM stops its engine core and workers when it shuts down in order. If its front end is killed (``kill -9``, the kernel
out of memory), they live on, hold the model's memory, and the next start finds no room.
"""

import multiprocessing
import multiprocessing.connection
import os
import threading

VARIABLE = "QWENVL_END_WITH_PARENT"
"""Set by whoever wants it: the plugin runs beside every vLLM there is."""


def end_with_parent() -> None:
    """From now on, end this process when its parent has; nothing where :data:`VARIABLE` is not set."""
    parent = multiprocessing.parent_process()
    if VARIABLE in os.environ and parent is not None:
        watching = threading.Thread(target=_wait, args=(parent.sentinel,), name="end-with-parent", daemon=True)
        watching.start()


def _wait(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    # Nobody is left to clean up for, and vLLM's own clean-up may wait for the dead.
    os._exit(1)
