"""A worker process: `python -m torchlap.worker serve FD`, `template FD` to fork workers on demand, or `rank`.

From the start, also while torch is imported, it prints its stack when it crashes and when `WHERE_SIGNAL` asks for it.
"""

import ctypes
import faulthandler
import signal
import sys

from torchlap.schema.messages import WHERE_SIGNAL

PR_SET_PDEATHSIG = 1
"""prctl(2): Linux ends this process together with its parent, even while it imports torch."""

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
faulthandler.enable()
faulthandler.register(WHERE_SIGNAL)

if __name__ == "__main__":
    if sys.argv[1] == "rank":
        from torchlap.worker.ranks.join import join  # imports torch, so only now

        join()
    from torchlap.worker.process import main  # likewise

    main()
