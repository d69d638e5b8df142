"""Starts the tracer. It is alone in its folder, which Python puts on the path: no other file shadows a module."""

from torchlap.worker.tracing.script import main

main()
