"""Stands in for the tracer where torch is not the point: writes a trace, then runs the script."""

import runpy
import sys
from pathlib import Path

import msgspec

from torchlap.schema.trace import SCHEMA, Trace
from torchlap.worker.tracing import lifeline

if __name__ == "__main__":
    lifeline.hold(int(sys.argv.pop(1)))
    trace = Trace(
        schema=SCHEMA,
        script=sys.argv[2],
        ending="under way",
        seconds=1.0,
        tracer_seconds=0.1,
        devices=("cpu",),
        steps=3,
    )
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(trace))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
