"""Starts the tracer. It is alone in its folder, which Python puts on the path: no other file shadows a module."""

import signal
import sys

startup = frozenset(sys.modules)

from torchlap.worker.tracing import lifeline  # noqa: E402  what Python itself has loaded comes first

lifeline.hold(int(sys.argv.pop(1)))  # before torch is imported
interrupt = signal.getsignal(signal.SIGINT)
if interrupt is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing of the script's has run: end without a traceback

from torchlap.worker.tracing.script import main  # noqa: E402

signal.signal(signal.SIGINT, interrupt)
main(startup)
