"""How the script feeds and configures its devices: rules about copies, loaders, precision and threads."""

from collections.abc import Iterable
from dataclasses import replace

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.script.timing import compares_devices, counted, duration, times
from torchlap.schema.trace import Trace

SAME_COPY = Rule(
    "TL430",
    "warning",
    "the same data is copied in every step",
    "The tensor stays on the host and is copied to the device in every step, so the time includes transfers that are "
    "not part of the model.",
    "Move the tensor to the device once, before the loop.",
)

SAME_COPIES = 3


def same_copy(trace: Trace) -> Iterable[Finding]:
    """The same tensor is copied to the device again and again."""
    for copies in trace.copies:
        if copies.same >= SAME_COPIES:
            evidence = (
                f"{copies.same + 1} copies of one tensor of {copies.bytes // copies.count} bytes, "
                f"{duration(copies.seconds / copies.count)} each"
            )
            yield SAME_COPY.finding(str(copies.place), evidence)


UNPINNED = Rule(
    "TL431",
    "warning",
    "non_blocking without pinned memory",
    "If the memory is not pinned, a copy to an NVIDIA GPU waits anyway, so non_blocking=True gains nothing; a copy to "
    "an Apple GPU can deliver wrong data.",
    "For NVIDIA, use pin_memory=True in the DataLoader, or tensor.pin_memory(); on MPS, remove non_blocking.",
    "https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html; pytorch/pytorch#139550",
)


def unpinned(trace: Trace) -> Iterable[Finding]:
    """Copies request non_blocking without effect; on MPS, they may be wrong."""
    for copies in trace.copies:
        if copies.unpinned:
            evidence = f"{copies.unpinned} copies to {copies.kind} from memory that is not pinned"
            yield UNPINNED.finding(str(copies.place), evidence)


FLOAT64 = Rule(
    "TL432",
    "warning",
    "computation in float64",
    "NumPy's default type is float64. Computing in float64 halves the speed on the CPU; most GPUs have few float64 "
    "units, and Apple GPUs have none.",
    "Use torch.from_numpy(x).float(), and remove .double() from the model.",
)


def float64(trace: Trace) -> Iterable[Finding]:
    """A model or its input is in float64; a note if that is the script's default type."""
    places = set()
    for notice in trace.float64:
        if notice.place not in places:
            places.add(notice.place)
            finding = FLOAT64.finding(str(notice.place), f"{notice.words} in float64, {times(notice.count)}")
            yield replace(finding, severity="note") if trace.float64_default else finding


USELESS_PIN = Rule(
    "TL433",
    "note",
    "pinned memory is not used",
    "pin_memory=True copies each batch once more, into memory that a GPU can read directly. This helps only for a CUDA "
    "or XPU device, and only if .to(device, non_blocking=True) does not wait for the copy.",
    "Remove pin_memory, or copy with non_blocking=True.",
)


def useless_pin(trace: Trace) -> Iterable[Finding]:
    """Memory is pinned, but no copy from it is asynchronous.

    A script that also runs on an accelerator is right to ask for it on the CPU, where torch ignores it.
    """
    for loader in trace.loaders:
        on_cpu = loader.trains_on == ("cpu",)
        if loader.pinned and not loader.pinned_used and not (on_cpu and trace.portable):
            evidence = "training is on the CPU" if on_cpu else "no copy of a batch is non_blocking"
            yield USELESS_PIN.finding(str(loader.made), evidence)


IDLE_WORKERS = Rule(
    "TL434",
    "warning",
    "loader workers are restarted in every epoch",
    "Worker processes are started again for each pass over the data, and the first batch waits for them. With a small "
    "dataset, this is slower than loading without workers, and much slower where processes are spawned (macOS, "
    "Windows).",
    "Use persistent_workers=True, or num_workers=0 for a small dataset.",
)

MUCH_OF_AN_EPOCH = 0.2


def idle_workers(trace: Trace) -> Iterable[Finding]:
    """Much of each epoch is spent on starting the workers, and on waiting for their first batch."""
    for loader in trace.loaders:
        beginning = loader.started_seconds + loader.first_seconds
        share = beginning / loader.iterated_seconds if loader.iterated_seconds else 0.0
        if loader.workers and not loader.persistent and loader.epochs > 1 and share > MUCH_OF_AN_EPOCH:
            evidence = (
                f"each epoch spends {duration(loader.started_seconds / loader.epochs)} on starting {loader.workers} "
                f"workers and {duration(loader.first_seconds / loader.epochs)} on waiting for the first batch: "
                f"{share:.0%} of its {duration(loader.iterated_seconds / loader.epochs)}"
            )
            yield IDLE_WORKERS.finding(str(loader.read), evidence)


DENORMALS = Rule(
    "TL435",
    "warning",
    "denormal numbers on the CPU",
    "On many CPUs, some operators are many times slower for numbers below 1.2e-38; GPUs are not affected. The CPU "
    "looks slower than it is.",
    "Use torch.set_flush_denormal(True), or find what makes the values so small.",
    "pytorch/pytorch#4737",
)

DENORMAL_SHARE = 0.1


def denormals(trace: Trace) -> Iterable[Finding]:
    """Many gradients, activations, parameters, or values in an optimizer's state are denormal on the CPU."""
    for found in trace.denormals:
        if found.share > DENORMAL_SHARE:
            evidence = f"up to {found.share:.0%} of the nonzero {found.words} are denormal, from step {found.first} on"
            yield DENORMALS.finding(str(found.place), evidence)


FEW_THREADS = Rule(
    "TL436",
    "warning",
    "the CPU uses few of its cores",
    "The CPU is not a fair baseline: every speed-up over it is too large.",
    "Remove torch.set_num_threads, and unset OMP_NUM_THREADS.",
)

FEWER = 0.5
"""The CPU is not a fair baseline with this share of its cores, or less."""


def few_threads(trace: Trace) -> Iterable[Finding]:
    """Training on the CPU uses at most half of the cores."""
    threads = trace.threads
    if threads and trace.spans and "cpu" in trace.devices and threads.threads <= FEWER * threads.cores:
        where = str(threads.place) if threads.place else ""
        evidence = f"torch uses {counted(threads.threads, 'thread')} on {counted(threads.cores, 'core')}"
        yield FEW_THREADS.finding(where, evidence)


MANY_THREADS = Rule(
    "TL448",
    "warning",
    "more threads than CPUs",
    "The threads of an operator wait for each other. If they share CPUs with each other, with loader workers or with "
    "other training processes, an operator takes as long as its slowest thread. Training is then slower than with "
    "fewer threads, and its time varies.",
    "Use so few threads, processes and loader workers that each thread has a CPU: set torch.set_num_threads or "
    "OMP_NUM_THREADS to the number of CPUs divided by the number of processes.",
    "https://docs.pytorch.org/docs/stable/notes/multiprocessing.html#avoiding-cpu-oversubscription",
)

MORE = 1.25
BUSY = 0.5


def many_threads(trace: Trace) -> Iterable[Finding]:
    """Training on the CPU has more threads and busy workers than there are CPUs."""
    threads = trace.threads
    if not threads or not threads.cpus or "cpu" not in trace.devices:
        return
    where = str(threads.place) if threads.place else ""
    wanted = threads.threads * threads.processes
    have = counted(threads.cpus, "CPU")
    if wanted > MORE * threads.cpus:
        by = f" in each of {threads.processes} processes" if threads.processes > 1 else ""
        yield MANY_THREADS.finding(where, f"{counted(threads.threads, 'compute thread')}{by}, but {have}")
        return
    loaders = [loader for loader in trace.loaders if loader.workers]
    waited = sum(loader.waited_seconds for loader in loaders) / trace.seconds if trace.seconds else 0.0
    busy = trace.children_seconds / trace.seconds if trace.seconds else 0.0
    if loaders and busy >= BUSY and wanted * (1 - min(1.0, waited)) + busy > MORE * threads.cpus:
        most = max(loaders, key=lambda loader: loader.workers)
        evidence = (
            f"{counted(wanted, 'compute thread')} and {counted(most.workers, 'loader worker')}, which used "
            f"{busy:.1f} CPUs on average, but {have}"
        )
        yield MANY_THREADS.finding(str(most.made), evidence)


TF32_ONE_SIDE = Rule(
    "TL437",
    "warning",
    "TF32 on one side only",
    "The GPU multiplies with a 10-bit mantissa, the CPU with 23 bits: they do not compute the same thing.",
    'Set torch.backends.fp32_precision = "ieee" to compare at the same precision, or state the difference with the '
    "result.",
)


def tf32_on_one_side(trace: Trace) -> Iterable[Finding]:
    """The script compares a CPU with a GPU that uses TF32, as its convolutions do by default."""
    tf32 = trace.tf32
    if not tf32 or "cpu" not in trace.devices:
        return
    uses = {"matrix products": tf32.matmul, "convolutions": tf32.convolution}
    operators = [name for name, is_used in uses.items() if is_used]
    ratio = next((ratio.place for ratio in trace.quotients if compares_devices(ratio)), None)
    where = tf32.place or ratio
    if operators and where is not None:
        default = "" if tf32.place else " (torch's default for convolutions)"
        yield TF32_ONE_SIDE.finding(str(where), f"{' and '.join(operators)} in TF32 on the GPU{default}")


FELL_BACK = Rule(
    "TL440",
    "warning",
    "operators fall back to the CPU",
    "The device does not implement these operators: each call moves data to the CPU and back, and the time is a mix "
    "of both devices.",
    "Upgrade torch, or replace these operators.",
)


def fell_back(trace: Trace) -> Iterable[Finding]:
    """Torch warned that operators run on the CPU instead of the device."""
    for notice in trace.fallbacks:
        yield FELL_BACK.finding(str(notice.place), notice.words)


HIDES = Rule(
    "TL451",
    "warning",
    "a file beside the script hides a module",
    "Python looks for modules beside the script first. Without the audit, torch itself would import this file instead "
    "of the module, and often fail; under the audit, torch was loaded before the file could hide anything.",
    "Rename the file.",
)


def hides(trace: Trace) -> Iterable[Finding]:
    """A file beside the script has the name of a module that torch imports."""
    for notice in trace.hidden:
        yield HIDES.finding(str(notice.place), f"{notice.place.file} hides {notice.words}")


RULES = (
    same_copy,
    unpinned,
    float64,
    useless_pin,
    idle_workers,
    denormals,
    few_threads,
    many_threads,
    tf32_on_one_side,
    fell_back,
    hides,
)
