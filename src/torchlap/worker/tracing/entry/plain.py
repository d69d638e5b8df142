"""Runs a script without the tracer, as Python itself would; it ends with torchlap, however that ends."""

import os
import runpy
import sys

from torchlap.worker.tracing import lifeline

lifeline.hold(int(sys.argv.pop(1)))
sys.argv.pop(0)
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))  # noqa: PTH100, PTH120  as Python does, links are kept
runpy.run_path(sys.argv[0], run_name="__main__")
