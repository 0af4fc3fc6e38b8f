"""The thread that the API and the workers keep: woken and stopped from anywhere."""

import os
import subprocess
import sys

# A signal every half millisecond, while the main thread does nothing but wake the thread.
_SIGNALLED = """
import signal, time
from app.worker.background import BackgroundThread

class Thread(BackgroundThread):
    def step(self): pass
    def close(self): print("closed", flush=True)

thread = Thread(name="t", interval=60)
thread.start()
signal.signal(signal.SIGALRM, lambda *_: thread.wake())
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
end = time.monotonic() + 1
while time.monotonic() < end:
    thread.wake()
signal.signal(signal.SIGALRM, lambda *_: thread.request_stop())
thread.stop()
signal.setitimer(signal.ITIMER_REAL, 0)
print("stopped" if not thread.alive() else "alive", flush=True)
"""


def test_a_signal_that_interrupts_a_wake_neither_blocks_nor_is_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SIGNALLED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "closed\nstopped\n"), done.stderr
