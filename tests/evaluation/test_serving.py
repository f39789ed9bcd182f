import os
import select
import signal
import subprocess
import sys

PARENT = """
import subprocess, sys
from qwenvl.evaluation.serving import end_with_parent
child = subprocess.Popen(["sleep", "1000"], start_new_session=True, preexec_fn=end_with_parent)
print(child.pid, flush=True)
child.wait()
"""


def test_a_server_ends_with_a_run_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.send_signal(signal.SIGKILL)
            ended = select.poll()
            ended.register(child, select.POLLIN)
            assert ended.poll(20_000)
        finally:
            os.close(child)
