"""Mechanical repairs of scripts: the repaired text."""

from judge.traces import SPANS, trace
from msgspec.structs import replace

from torchlap.judge.script import examine
from torchlap.judge.script.fixes import patched
from torchlap.schema.trace import Place

SOURCE = """\
import time

def run(step):
    start = time.time()
    for _ in range(10):
        step()
    seconds = time.time() - start
    return seconds
"""
ONCE = replace(
    SPANS,
    place=Place("train.py", 7),
    start=Place("train.py", 4),
    end=Place("train.py", 7),
    count=1,
    seconds=(5.0,),
    looked_at=1,
)
LINES = {f"train.py:{number}": line for number, line in enumerate(SOURCE.splitlines(), start=1)}


def test_a_span_that_is_timed_once_is_repeated_after_a_warm_up_and_waits_at_both_ends() -> None:
    faulty = trace(spans=(replace(ONCE, unfinished_seconds=5.0),), lines=LINES)
    text, codes = patched(SOURCE, examine(faulty), faulty)
    assert codes == ("TL401", "TL406")
    assert text.splitlines()[3:] == [
        "    torchlap_times = []",
        "    for _ in range(6):  # the first is warm-up",
        "        torch.accelerator.synchronize()",
        "        start = time.time()",
        "        for _ in range(10):",
        "            step()",
        "        torch.accelerator.synchronize()",
        "        seconds = time.time() - start",
        "        torchlap_times.append(seconds)",
        "    seconds = sorted(torchlap_times[1:])[2]  # the median of 5",
        "    return seconds",
    ]
    compile(text, "train.py", "exec")


def test_the_clock_is_replaced_where_it_counts_processor_time() -> None:
    source = SOURCE.replace("time.time()", "time.process_time()")
    lines = {f"train.py:{number}": line for number, line in enumerate(source.splitlines(), start=1)}
    faulty = trace(
        devices=("cpu",),
        turns=("cpu",),
        spans=(replace(ONCE, devices=("cpu",), count=5, clock="process_time"),),
        lines=lines,
    )
    text, codes = patched(source, examine(faulty), faulty)
    assert "TL408" in codes
    assert "    seconds = time.perf_counter() - start" in text


def test_a_script_without_mechanical_faults_has_no_copy() -> None:
    assert patched(SOURCE, examine(trace()), trace()) == (SOURCE, ())
