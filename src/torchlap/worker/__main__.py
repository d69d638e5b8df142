"""A worker process: `python -m torchlap.worker serve FD`, `template FD` to fork workers on demand, or `rank`.

From the start, also while torch is imported, it prints its stack when it crashes and when `WHERE_SIGNAL` asks for it.
"""

import ctypes
import faulthandler
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): Linux ends this process together with its parent, even while it imports torch."""


def is_left_alone(descriptor: int) -> bool:
    """Whether the judge has closed its end of the socket."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False


if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

if __name__ == "__main__":
    if sys.argv[1] != "rank" and is_left_alone(int(sys.argv[2])):  # since before the call above
        sys.exit(1)

    from torchlap.schema.messages import WHERE_SIGNAL

    faulthandler.enable()
    faulthandler.register(WHERE_SIGNAL)

    if sys.argv[1] == "rank":
        from torchlap.worker.ranks.join import join  # imports torch, so only now

        join()
    from torchlap.worker.process import main  # likewise

    main()
