"""Starts the tracer. It is alone in its folder, which Python puts on the path: no other file shadows a module."""

import sys

startup = frozenset(sys.modules)

from torchlap.worker.tracing.script import main  # noqa: E402  what Python itself has loaded comes first

main(startup)
