"""Check that the numbers of a watched clock compute like plain ones; a script, because it imports torch."""

import json
import pickle
from pathlib import Path

from torchlap.worker.tracing.clocks import Nanoseconds, Reading, clocks
from torchlap.worker.tracing.log import Log

clocks.log = Log(Path(__file__))
read = clocks.read(None)
start, end = Reading(1.5, read), Reading(4.0, read)
elapsed = end - start
computed = (elapsed, 2 * elapsed, elapsed / 2, 10 / elapsed, elapsed + 1, sum([elapsed, elapsed]))
assert computed == (2.5, 5.0, 1.25, 4.0, 3.5, 5.0)
ratio = elapsed / (start - 1.0 + elapsed)
assert f"{ratio:.1%} {ratio * 100:.1f} {round(ratio * 100)} {elapsed!r}" == "83.3% 83.3 83 2.5"
assert json.dumps([elapsed, start]) == "[2.5, 1.5]"
assert type(pickle.loads(pickle.dumps(elapsed))) is float
nanoseconds = Nanoseconds(5_000, read) - Nanoseconds(3_000, read)
assert (nanoseconds, nanoseconds // 3, nanoseconds / 1000, nanoseconds * 0.5) == (2000, 666, 2.0, 1000.0)
assert type(pickle.loads(pickle.dumps(nanoseconds))) is int
try:
    elapsed + "a"  # type: ignore[operator]
except TypeError:
    pass
else:
    raise AssertionError("a number was added to a text")
assert len(clocks.log.spans) == 2
