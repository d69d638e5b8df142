"""A worker: `python -m torchlap.worker serve FD`, or `template FD` to fork workers on demand.

From its first moment on it says where it is: of itself when it crashes, and when it is asked by a signal, also while
torch is being imported.
"""

import faulthandler

from torchlap.protocol import WHERE_SIGNAL

faulthandler.enable()
faulthandler.register(WHERE_SIGNAL)

from torchlap.worker.obey import main  # noqa: E402  imports torch

if __name__ == "__main__":
    main()
