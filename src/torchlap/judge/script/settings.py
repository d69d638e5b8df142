"""How the script feeds and sets up its devices: the rules about copies, loaders, precision and threads."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule, found
from torchlap.judge.script.timing import milliseconds
from torchlap.schema.trace import Loader, Trace

SAME_COPIES = 3
DENORMAL_SHARE = 0.1
COSTS_MORE = 1.1
FEWER = 0.5
"""Of the cores: with fewer threads the CPU is handicapped."""

SAME_COPY = Rule(
    "TL430",
    "warning",
    "the same data are copied in every step",
    "The tensor lies on the host and travels to the device each time: the time of that is the bus's, not the model's.",
    "Move it to the device once, before the loop.",
)
UNPINNED = Rule(
    "TL431",
    "warning",
    "non_blocking without pinned memory",
    "From unpinned memory a copy to an NVIDIA GPU waits all the same, so nothing is won; to an Apple GPU "
    "non_blocking=True can give wrong data.",
    "pin_memory=True in the DataLoader, or tensor.pin_memory(), for NVIDIA; on MPS leave non_blocking away.",
    "https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html; pytorch/pytorch#139550",
)
FLOAT64 = Rule(
    "TL432",
    "warning",
    "computes in float64",
    "NumPy's numbers are float64. On the CPU that halves the speed; a GPU for games or training has few units for it, "
    "and an Apple GPU none.",
    "torch.from_numpy(x).float(), and no .double() on the model.",
)
USELESS_PIN = Rule(
    "TL433",
    "note",
    "memory is pinned without use",
    "pin_memory=True copies each batch once more into memory that a GPU can read by itself: of use only for a CUDA or "
    "XPU device, and only where .to(device, non_blocking=True) does not wait for it.",
    "Leave pin_memory away, or copy with non_blocking=True.",
)
IDLE_WORKERS = Rule(
    "TL434",
    "warning",
    "workers cost more than they give",
    "Worker processes are started anew for each pass over the data, and each batch travels between processes: for "
    "small data that is slower than loading without them, and where processes are spawned (macOS, Windows) far slower.",
    "num_workers=0, or persistent_workers=True.",
)
DENORMALS = Rule(
    "TL435",
    "warning",
    "denormal numbers on the CPU",
    "Numbers below 1.2e-38 are computed many times slower by some operators of many CPUs; GPUs do not care. The CPU "
    "looks slow for a reason that is not its speed.",
    "torch.set_flush_denormal(True), or find what makes the values so small.",
    "pytorch/pytorch#4737",
)
FEW_THREADS = Rule(
    "TL436",
    "warning",
    "the CPU computes with few of its cores",
    "It is a handicapped baseline: every speed-up over it is too large.",
    "Leave torch.set_num_threads away, and unset OMP_NUM_THREADS.",
)
TF32_ONE_SIDE = Rule(
    "TL437",
    "warning",
    "TF32 on one side only",
    "The GPU multiplies with 10 bits of mantissa, the CPU with 23: the two do not compute the same.",
    'Compare at the same precision: torch.backends.fp32_precision = "ieee"; or say so beside the figure.',
)
FELL_BACK = Rule(
    "TL440",
    "warning",
    "operators fall back to the CPU",
    "The device has not got them: each time the data travel to the CPU and back, and the figure is a mix of both.",
    "Upgrade torch, or replace the operators that are named.",
)


def same_copy(trace: Trace) -> Iterable[Finding]:
    """The very same tensor goes to the device again and again."""
    for seen in trace.copies:
        if seen.same >= SAME_COPIES:
            each = milliseconds(seen.seconds / seen.count)
            size = seen.bytes // seen.count
            yield found(
                SAME_COPY, str(seen.place), f"{seen.same + 1} copies of one tensor of {size} bytes, {each} each"
            )


def unpinned(trace: Trace) -> Iterable[Finding]:
    """Copies that ask not to be waited for, in vain; to MPS, to their harm."""
    for seen in trace.copies:
        if seen.unpinned:
            yield found(
                UNPINNED, str(seen.place), f"{seen.unpinned} copies to {seen.kind} from memory that is not pinned"
            )


def float64(trace: Trace) -> Iterable[Finding]:
    """A model or its input in float64."""
    seen_lines = set()
    for seen in trace.float64:
        if seen.place not in seen_lines:
            seen_lines.add(seen.place)
            yield found(FLOAT64, str(seen.place), f"{seen.words} in float64, {seen.count} times")


def useless_pin(trace: Trace) -> Iterable[Finding]:
    """Pinned memory that nobody copies from without waiting."""
    for seen in trace.loaders:
        if seen.pinned and not seen.pinned_used:
            on_cpu = seen.trains_on == ("cpu",)
            why = "training is on the CPU" if on_cpu else "no copy of a batch is non_blocking"
            yield found(USELESS_PIN, str(seen.made), why)


def idle_workers(trace: Trace) -> Iterable[Finding]:
    """Workers with which an epoch waited longer than loading takes without them."""
    for seen in filter(_costs_more, trace.loaders):
        waited = (seen.waited_seconds + seen.started_seconds) / seen.epochs
        yield found(
            IDLE_WORKERS,
            str(seen.read),
            f"an epoch waits {milliseconds(waited)} for {seen.workers} workers "
            f"({milliseconds(seen.started_seconds / seen.epochs)} to start them); without workers its batches take "
            f"{milliseconds(seen.alone_seconds or 0.0)}",
        )


def _costs_more(seen: Loader) -> bool:
    if not (seen.workers and seen.epochs and seen.alone_seconds):
        return False
    return (seen.waited_seconds + seen.started_seconds) / seen.epochs > COSTS_MORE * seen.alone_seconds


def denormals(trace: Trace) -> Iterable[Finding]:
    """Many of the gradients on the CPU are denormal."""
    for seen in trace.denormals:
        if trace.denormal_share > DENORMAL_SHARE:
            yield found(
                DENORMALS, str(seen.place), f"up to {trace.denormal_share:.0%} of the {seen.words} that are not zero"
            )


def few_threads(trace: Trace) -> Iterable[Finding]:
    """Training on the CPU with fewer threads than half its cores."""
    seen = trace.threads
    if seen and "cpu" in trace.devices and seen.threads <= FEWER * seen.cores:
        where = str(seen.place) if seen.place else ""
        yield found(FEW_THREADS, where, f"{seen.threads} thread{'s' * (seen.threads != 1)}, {seen.cores} cores")


def tf32_on_one_side(trace: Trace) -> Iterable[Finding]:
    """A CPU beside a GPU that multiplies in TF32, as its convolutions do by default."""
    seen = trace.tf32
    if not seen or "cpu" not in trace.devices or not (seen.matmul or seen.convolution):
        return
    what = " and ".join(["matrix products"] * seen.matmul + ["convolutions"] * seen.convolution)
    by_default = seen.place is None
    ratio = next((each.place for each in trace.quotients if each.above != each.below), None)
    where = seen.place or ratio
    if where is not None:
        default = " (torch's default for convolutions)" * by_default
        yield found(TF32_ONE_SIDE, str(where), f"{what} in TF32 on the GPU{default}")


def fell_back(trace: Trace) -> Iterable[Finding]:
    """What torch said of operators that it left to the CPU."""
    for seen in trace.fallbacks:
        yield found(FELL_BACK, str(seen.place), seen.words)


RULES = (
    same_copy,
    unpinned,
    float64,
    useless_pin,
    idle_workers,
    denormals,
    few_threads,
    tf32_on_one_side,
    fell_back,
)
