"""The numbers that a watched clock gives, computed with: a test runs this, for it imports torch."""

import json
import pickle
from pathlib import Path

from torchlap.worker.tracing import clocks
from torchlap.worker.tracing.log import Log

clocks.clocks = clocks.Clocks(Log(Path(__file__)))
read = clocks.clocks.read(None)
start, end = clocks.Reading(1.5, read), clocks.Reading(4.0, read)
elapsed = end - start
assert (elapsed, 2 * elapsed, elapsed / 2, 10 / elapsed, elapsed + 1, sum([elapsed, elapsed])) == (
    2.5,
    5.0,
    1.25,
    4.0,
    3.5,
    5.0,
)
ratio = elapsed / (start - 1.0 + elapsed)
assert f"{ratio:.1%} {ratio * 100:.1f} {round(ratio * 100)} {elapsed!r}" == "83.3% 83.3 83 2.5"
assert json.dumps([elapsed, start]) == "[2.5, 1.5]"
assert type(pickle.loads(pickle.dumps(elapsed))) is float
nanoseconds = clocks.Nanoseconds(5_000, read) - clocks.Nanoseconds(3_000, read)
assert (nanoseconds, nanoseconds // 3, nanoseconds / 1000, nanoseconds * 0.5) == (2000, 666, 2.0, 1000.0)
assert type(pickle.loads(pickle.dumps(nanoseconds))) is int
try:
    elapsed + "a"  # type: ignore[operator]
except TypeError:
    pass
else:
    raise AssertionError("a number was added to a text")
assert len(clocks.clocks.log.timed) == 2
