"""Starts the tracer. It is alone in its folder, which Python puts on the path: no other file shadows a module."""

import sys

from torchlap.worker.tracing import lifeline

lifeline.hold(int(sys.argv.pop(1)))  # before torch is imported

from torchlap.worker.tracing.script import main  # noqa: E402

main()
