"""Findings about several ranks (TL6xx): efficiency, communication, ranks that differ, numerics; and why it is less."""

import sys
from collections.abc import Iterable, Iterator

from torchlap.judge import measurement
from torchlap.judge.findings import Finding, Rule, catalogue
from torchlap.judge.measurement.conditions import FEWER_THREADS
from torchlap.runs.figures import watched
from torchlap.runs.scaling import SizeResult, sizes
from torchlap.schema.events import Run

SUPER_LINEAR = Rule(
    "TL601",
    "warning",
    "efficiency above 1",
    "Ranks that exchange gradients cannot each be faster than one device alone, so the two sides did not do the same: "
    "the one device had fewer threads, less memory, another batch or a cold cache, or shared its host.",
    "Compare the threads and the memory of both sides in the table, and close other programs. With --total-batch, a "
    "smaller batch of each rank may fit into a cache that the whole one does not: then it is real.",
)
ABOVE_ONE = 1.02
"""The whole interval must be above it: what is less may be noise."""

SLOW_RANK = Rule(
    "TL602",
    "warning",
    "one rank is slower than the others",
    "Every rank waits for the slowest one in each step, so that all devices are as slow as that one.",
    "Check that device's temperature, power cap and users (torchlap doctor), its place on the bus (nvidia-smi topo "
    "-m), and what else runs on its cores.",
)
SLOWER = 1.03
"""The whole interval must be above it."""

SOCKETS = Rule(
    "TL603",
    "warning",
    "NCCL does not use NVLink",
    "The GPUs are connected by NVLink, but NCCL exchanges gradients through sockets or host memory, which is many "
    "times slower.",
    "Unset NCCL_P2P_DISABLE and NCCL_SHM_DISABLE, give a container the host's IPC namespace and shared memory "
    "(--ipc=host), and run with NCCL_DEBUG=INFO to see why.",
    "NVIDIA: NCCL documentation, Troubleshooting",
)

OVERSUBSCRIBED = Rule(
    "TL604",
    "warning",
    "more threads than cores",
    "Threads of all ranks, and the processes of their loaders, share the cores and interrupt each other, so that each "
    "rank is slower than it would be alone.",
    "Set OMP_NUM_THREADS to the number of cores divided by the number of ranks, and use fewer workers of the loader or "
    "fewer ranks.",
)

STARVES = Rule(
    "TL605",
    "warning",
    "the loader starves with more ranks",
    "One device did not have to wait for its batches, but several do: their loaders share the cores, the disk or the "
    "memory of the host, and more devices would not train faster.",
    "Use lighter transforms, prepare the data beforehand, add cores, or keep the data on the device: omit the recipe "
    "term workers:N.",
)
WAIT_SHARE, MORE_WAIT = 0.15, 0.1
"""Of a step, that it waits for its batch; and how much more that must be than on one device."""

EXPOSED = Rule(
    "TL606",
    "note",
    "communication is not hidden",
    "The exchange of gradients should run while the backward pass computes the next ones. What does not is added to "
    "every step.",
    "Try a larger --batch, the recipe terms accumulate:N, bucket:MB or static_graph, gradients in 16 bits, or a faster "
    "link.",
)
EXPOSED_SHARE = 0.05
"""Of a step, that communication must add with certainty."""

WRONG_GRADIENTS = Rule(
    "TL607",
    "error",
    "gradients differ from those of one device",
    "The ranks do not compute the mean of their gradients, so they do not train the model that one device would. Their "
    "speed means nothing.",
    "Check the loss, custom autograd functions and communication hooks; run with two ranks on the CPU to see whether "
    "the device matters.",
)

PARAMETERS_DIFFER = Rule(
    "TL608",
    "error",
    "parameters differ between ranks",
    "The ranks train different models: parameters that are not synchronized, or an update that depends on the rank. "
    "Their speed means nothing.",
    "Make sure that every parameter has a gradient in every step, and that no code uses the rank to change one.",
)

WHOLE_DIFFERS = Rule(
    "TL609",
    "warning",
    "the loss is not a mean over rows",
    "The mean of the ranks' gradients is not the gradient of the whole batch: the loss is a sum, or is divided by "
    "something that differs between ranks, so that the learning rate changes with the number of ranks.",
    "Use a loss that is a mean over the rows, or scale the learning rate knowingly.",
)

PER_RANK = Rule(
    "TL610",
    "note",
    "batch statistics or dropout are per rank",
    "BatchNorm computes its statistics from the batch of its own rank, and dropout draws its own elements there, so "
    "that the gradients of several ranks are not those of one device with the whole batch. This is how DDP is meant to "
    "work.",
    "If the batch of each rank is small, convert BatchNorm with torch.nn.SyncBatchNorm.convert_sync_batchnorm, which "
    "communicates in the forward pass, too.",
)

NOT_CHECKED = Rule(
    "TL611",
    "warning",
    "results of the ranks not checked",
    "Whether the ranks compute what one device would is not known.",
    "Give it more time or memory: --budget, or a smaller --batch.",
)

CATALOGUE = tuple(rule for rule in catalogue(sys.modules[__name__]) if rule.code.startswith("TL6"))


PLAIN = 100
"""Milliseconds that are written without decimals."""


def findings(run: Run) -> tuple[Finding, ...]:
    """What to know before relying on the figures of `torchlap scale`, sorted by code."""
    of_laps = (finding for finding in measurement.findings(run) if finding.code.startswith("TL2"))
    found = [finding for finding in of_laps if finding.code != FEWER_THREADS.code]  # both sides have as many
    for size in sizes(run):
        found += _of_size(size, run.header.facts.usable_cores)
    return tuple(sorted(found, key=lambda finding: finding.code))


def _of_size(size: SizeResult, cores: int) -> Iterator[Finding]:
    where = str(size.together.cell)
    yield from _super_linear(size, where)
    yield from _slow_rank(size, where)
    yield from _sockets(size, where)
    yield from _oversubscribed(size, where, cores)
    yield from _starves(size, where)
    yield from _exposed(size, where)
    yield from _numerics(size, where)


def _super_linear(size: SizeResult, where: str) -> Iterable[Finding]:
    if size.efficiency is not None and size.efficiency.low > ABOVE_ONE:
        low, high = size.efficiency.low, size.efficiency.high
        yield SUPER_LINEAR.finding(where, f"{size.efficiency.value:.3f} ({low:.3f} to {high:.3f})")


def _slow_rank(size: SizeResult, where: str) -> Iterable[Finding]:
    slowest = size.slowest
    if slowest is not None and slowest.factor.low > SLOWER:
        facts = [rank for rank in size.facts if rank.rank == slowest.rank]
        several = len({rank.host for rank in size.facts}) > 1
        device = f" ({facts[0].device}{f' of {facts[0].host}' if several else ''})" if facts else ""
        interval = slowest.factor
        yield SLOW_RANK.finding(
            where,
            f"rank {slowest.rank}{device} takes {interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f}) times "
            "as long as the others without synchronization",
        )


def _sockets(size: SizeResult, where: str) -> Iterable[Finding]:
    slow = sorted({way for rank in size.facts for way in rank.transports if way.startswith(("NET", "SHM"))})
    one_host = len({rank.host for rank in size.facts}) == 1
    if slow and one_host and any(rank.nvlink for rank in size.facts):
        yield SOCKETS.finding(where, f"NCCL uses {', '.join(slow)}")


def _oversubscribed(size: SizeResult, where: str, cores: int) -> Iterable[Finding]:
    hosts = {rank.host for rank in size.facts}
    for host in sorted(hosts)[:1]:  # the judge knows the cores of its own host; others are usually alike
        here = [rank for rank in size.facts if rank.host == host]
        threads, loaders = sum(rank.threads for rank in here), sum(rank.loader_workers for rank in here)
        if len(here) > 1 and threads + loaders > cores:
            workers = f" and {loaders} processes of loaders" if loaders else ""
            yield OVERSUBSCRIBED.finding(
                where, f"{len(here)} ranks have {threads} threads{workers} on {cores} usable cores"
            )


def _starves(size: SizeResult, where: str) -> Iterable[Finding]:
    waits = []
    for cell in (size.alone, size.together):
        laps = cell.prepared.watched if cell.prepared else None
        if laps is None:
            return
        waits.append(laps.input_wait_seconds / laps.step_seconds)
    alone, together = waits
    if together > WAIT_SHARE and together > alone + MORE_WAIT:
        yield STARVES.finding(
            where, f"a step waits for its batch for {together:.2f} of its time, on one device {alone:.2f}"
        )


def _exposed(size: SizeResult, where: str) -> Iterable[Finding]:
    share = size.communication.of_step
    if share is not None and share.low > EXPOSED_SHARE:
        yield EXPOSED.finding(where, f"it adds {share.value:.2f} ({share.low:.2f} to {share.high:.2f}) of a step")


def _numerics(size: SizeResult, where: str) -> Iterable[Finding]:
    numerics = size.numerics
    if numerics is None:
        return
    if numerics.reason:
        yield NOT_CHECKED.finding(where, numerics.reason.rstrip("."))
        return
    if numerics.gradient_error > numerics.limit:
        evidence = f"off by {numerics.gradient_error:.1e}, limit {numerics.limit:.1e}, most in {numerics.worst}"
        yield WRONG_GRADIENTS.finding(where, evidence)
    if numerics.differing:
        yield PARAMETERS_DIFFER.finding(where, f"after {numerics.steps} steps: {', '.join(numerics.differing)}")
    if numerics.whole_error is not None and numerics.whole_error > numerics.limit:
        layers = [name for name, has in (("BatchNorm", numerics.batch_norm), ("dropout", numerics.dropout)) if has]
        evidence = f"gradients of the whole batch differ by {numerics.whole_error:.2g}"
        if layers:
            yield PER_RANK.finding(where, f"{evidence}; the model has {' and '.join(layers)}")
        else:
            yield WHOLE_DIFFERS.finding(where, evidence)


def reasons(size: SizeResult) -> Iterator[str]:
    """Where the time of a step goes that one device does not need, in a sentence each."""
    alone, together, unsynchronized = size.step_seconds
    if alone is None or together is None:
        return
    perfect = f", {_ms(size.ideal * alone)} would be perfect" if size.ideal != 1 else ""
    yield f"A step takes {_ms(alone)} on one device{perfect}, and {_ms(together)} on {size.ranks} together"
    if unsynchronized is None:
        yield (
            f"{_more(together - size.ideal * alone)}: FSDP2 gathers parameters as well as reducing gradients, so there "
            "is no step without communication to compare with"
        )
    else:
        yield from _parts(size, alone, together, unsynchronized)
    laps = watched(size.together)
    if laps is not None:
        share = min(1.0, (laps.enqueue_seconds - laps.input_wait_seconds) / laps.step_seconds)
        if share > measurement.training.ENQUEUE_SHARE:
            yield (
                f"It is launch-bound: the host needs {share:.2f} of the step to enqueue it, so that DDP's own work on "
                "the host is added to every step. A larger --batch, or compile, hides it"
            )


def _parts(size: SizeResult, alone: float, together: float, unsynchronized: float) -> Iterator[str]:
    communication = size.communication
    ideal = size.ideal * alone
    rest, limits = unsynchronized - ideal, ""
    if size.without is not None:
        rest = size.without.value * alone - ideal
        limits = _limits(size.without.low * alone - ideal, size.without.high * alone - ideal)
    smaller = "a smaller batch that fills each device less, " if size.ideal != 1 else ""
    yield (
        f"{_more(rest)}{limits} remains without synchronization: {smaller}DDP's own work, and what the ranks share on "
        "the host"
    )
    share, exposed = communication.of_step, together - unsynchronized
    between = ""
    if share is not None:
        exposed = share.value * together
        between = _limits(share.low * together, share.high * together)
    text = f"{_more(exposed)}{between} is communication that is not hidden"
    if communication.all_reduce_seconds is not None and communication.not_hidden is not None:
        reduce = communication.all_reduce_seconds.value
        text += f"; an all-reduce of the gradients ({communication.bytes / 1e6:.3g} MB) by itself takes {_ms(reduce)}"
        if communication.not_hidden.low > 1:
            text += ", so that the rest is not the transfer, but hooks, buckets, buffers and waiting for other ranks"
    yield text


def _limits(low: float, high: float) -> str:
    return f" ({_digits(low)} to {_digits(high)})"


def _more(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else ''}{_digits(seconds)} ms"


def _ms(seconds: float) -> str:
    return f"{_digits(seconds)} ms"


def _digits(seconds: float) -> str:
    """Milliseconds with three digits, without an exponent."""
    value = 1e3 * seconds
    return f"{value:.0f}" if abs(value) >= PLAIN else f"{value:.3g}"
