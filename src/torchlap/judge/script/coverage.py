"""What an audit could watch of a script, and what it could not: nothing is known about what was not watched."""

from torchlap.schema.trace import Trace

CHILDREN_SECONDS = 0.5


def nothing_audited(trace: Trace) -> str:
    """Why nothing was audited; empty if a training step was watched."""
    if trace.steps:
        return ""
    if trace.ending == "raised":
        kind = trace.error.partition(":")[0] or "an exception"
        return f"the script failed before its first training step ({kind})"
    in_children = any(notice.words == "child processes" for notice in trace.unwatched)
    if in_children or trace.children_seconds > CHILDREN_SECONDS:
        return (
            "no training step ran in the script's own process, and child processes are not watched; audit a script "
            "that trains in its own process"
        )
    if trace.ending in ("interrupted", "under way"):
        return "the script ended before its first training step"
    return "no backward pass and no optimizer step ran; torchlap audits only training"


def limits(trace: Trace) -> list[str]:
    """What the script does to time or train that the audit does not watch, in sentences without a full stop."""
    found = [f"{notice.words} ({notice.place})" for notice in trace.unwatched]
    lines = [f"Not watched: {', '.join(found)}"] if found else []
    if trace.steps and not (trace.spans or trace.parts):
        lines.append(
            "No clock reads around training steps were found (time.time, perf_counter, monotonic, process_time, "
            "timeit, torch.utils.benchmark, CUDA events), so the timing was not checked"
        )
    if trace.by_backward and trace.steps:
        lines.append("No torch optimizer took a step: each backward pass counts as a step")
    return lines
