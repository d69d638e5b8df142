"""A worker: `python -m torchlap.worker serve FD`, or `template FD` to fork workers on demand.

From its first moment on it says where it is: of itself when it crashes, and when it is asked by a signal, also while
torch is being imported.
"""

import ctypes
import faulthandler
import signal
import sys

from torchlap.schema.messages import WHERE_SIGNAL

PR_SET_PDEATHSIG = 1
"""prctl(2): Linux ends this process with the one that started it, whatever it is doing, importing torch too."""

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
faulthandler.enable()
faulthandler.register(WHERE_SIGNAL)

from torchlap.worker.serve import main  # noqa: E402  imports torch

if __name__ == "__main__":
    main()
