"""The vocabulary as types: what is measured, what was seen, and what a run file's lines mean.

Units are in the names; every string and number is bounded, because a run file is untrusted input.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

SCHEMA = 1
"""The run file's schema. It rises when a reader of the old one would misread the new one."""

Name = Annotated[str, Meta(min_length=1, max_length=500)]
Text = Annotated[str, Meta(max_length=20_000)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Span = Annotated[float, Meta(ge=1e-9, le=1e9)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Positive = Annotated[int, Meta(ge=1, le=10**9)]
Rate = Annotated[float, Meta(ge=1, le=1e24)]
Share = Annotated[float, Meta(ge=0, le=1)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]

Phase = Literal["train", "eval"]
StepPhase = Literal["input", "transfer", "forward", "backward", "optimizer"]
"""The phases of a step, in their order: waiting for the batch, bringing it onto the device, and so on."""

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]
DataName = Literal["mnist-1k", "mnist", "synthetic"]
Weights = Literal["random", "pretrained"]
FailureKind = Literal["crash", "hang", "out_of_memory", "refused", "not_finite", "error", "too_slow", "no_time"]

OUT_OF_TIME: tuple[FailureKind, ...] = ("too_slow", "no_time")
"""What a larger budget mends: nothing is wrong with the cell."""


class Workload(Struct, frozen=True):
    """A model, its batch size and phase; the input's shape follows from the model."""

    model: Name
    batch: Positive
    phase: Phase = "train"


class Recipe(Struct, frozen=True, omit_defaults=True):
    """How a workload is run. `workers` counts DataLoader processes; None keeps the data resident on the device."""

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "auto"
    compile: bool = False
    fused: bool = False
    workers: Annotated[int, Meta(ge=0, le=1024)] | None = None

    def __str__(self) -> str:
        """The words that `--recipe` takes, joined by plus signs; the data's way last."""
        words: list[str] = [self.precision]
        words += [self.memory_format] * (self.memory_format != "auto")
        words += ["compile"] * self.compile
        words += ["fused"] * self.fused
        words += [] if self.workers is None else [f"loader({self.workers})"]
        return "+".join(words)


class Cell(Struct, frozen=True):
    """Workload x recipe x device: what gets a row."""

    workload: Workload
    recipe: Recipe
    device: Name

    def __str__(self) -> str:
        """One line that names the cell among all others; what is usual (train, fp32) is left out."""
        workload = self.workload
        words = [workload.model, f"batch {workload.batch}", self.device]
        words += [workload.phase] * (workload.phase != "train")
        words += [str(self.recipe)] * (self.recipe != Recipe())
        return ", ".join(words)


class Comparison(Struct, frozen=True):
    """Cells that are alive together and take turns; the first is the baseline of every speed-up."""

    cells: Annotated[tuple[Cell, ...], Meta(min_length=1, max_length=1000)]


class Plan(Struct, frozen=True, kw_only=True):
    """All that a run will measure, and how precisely."""

    suite: Name
    comparisons: Annotated[tuple[Comparison, ...], Meta(min_length=1, max_length=10_000)]
    data: DataName = "mnist-1k"
    weights: Weights = "random"
    precision_target: Annotated[float, Meta(gt=0, lt=1)] = 0.02
    budget_seconds: Span = 100.0
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    verify: bool = True
    explain: bool = True


class DeviceFacts(Struct, frozen=True):
    """One device as torch sees it: `name` is what `--devices` takes; `capability` is like 9.0, or gfx90a for AMD."""

    name: Name
    kind: Name
    model: Text = ""
    memory_bytes: Count | None = None
    capability: Text = ""


class Unread(Struct, frozen=True):
    """A probe that failed: what it was to read, and why it could not."""

    what: Name
    why: Text


class TorchBuild(Struct, frozen=True, kw_only=True):
    """What torch's own files say before anything is imported: the versions it was built for, empty for without."""

    cuda: Text = ""
    hip: Text = ""
    xpu: Text = ""
    wheel: Text = ""


class TorchFacts(Struct, frozen=True, kw_only=True):
    """What torch says of itself once it is imported; `said` holds what it complained of meanwhile."""

    architectures: tuple[Text, ...] = ()
    cuda_available: bool = False
    mps_built: bool = False
    mps_available: bool = False
    xpu_built: bool = False
    xpu_available: bool = False
    onednn: bool = True
    flushes_denormals: bool = True
    float32_precision: dict[Name, Text] = {}
    said: Text = ""


class ImportFailure(Struct, frozen=True):
    """Why torch and torchvision cannot be imported; `said` is the end of what was printed."""

    kind: FailureKind
    reason: Text
    said: Text = ""


class Trial(Struct, frozen=True, kw_only=True):
    """How a device did in the live probe.

    `failed_at` is the stage that failed, empty where all passed; `wrong` says which numbers came out wrong, `missing`
    and `fallbacks` which operators the device has not got, or left to the CPU.
    """

    device: Name
    seconds: Seconds = 0.0
    failed_at: Text = ""
    kind: FailureKind | None = None
    reason: Text = ""
    wrong: Text = ""
    missing: tuple[Text, ...] = ()
    fallbacks: tuple[Text, ...] = ()


class Power(Struct, frozen=True, kw_only=True):
    """What the machine says of power and heat; None where it does not tell.

    `thermal_pressure` is macOS's, 0 nominal to 4 sleeping (OSThermalNotification.h); `speed_limit` the CPU's.
    """

    on_battery: bool | None = None
    battery_share: Share | None = None
    power_saving: bool | None = None
    thermal_pressure: Annotated[int, Meta(ge=0, le=100)] | None = None
    speed_limit: Share | None = None


class NvidiaGpu(Struct, frozen=True, kw_only=True):
    """A GPU as NVIDIA's driver sees it, before this run touches it."""

    model: Text
    capability: Text = ""
    memory_bytes: Count | None = None
    free_bytes: Count | None = None
    clock_mhz: Count | None = None
    most_clock_mhz: Count | None = None
    celsius: Annotated[int, Meta(ge=-300, le=10_000)] | None = None
    busy: Share | None = None
    processes: Count = 0
    throttled_by: tuple[Text, ...] = ()


class Nvidia(Struct, frozen=True, kw_only=True):
    """NVIDIA's driver: its version, the newest CUDA it knows, its GPUs."""

    driver: Text = ""
    cuda: Text = ""
    gpus: tuple[NvidiaGpu, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """What machine, what torch: everything that a figure depends on and that can be read without rights.

    Nothing in it names the user, the host or a serial number. What could not be read is None, or empty, with its
    reason in `unread` where a probe failed. `interpreter` is how a shell calls this Python.
    """

    cpu: Text
    physical_cores: Count
    usable_cores: Count
    memory_bytes: Count
    system: Text
    architecture: Text
    python: Text
    packages: dict[Name, Text] = {}
    environment: dict[Name, Text] = {}
    devices: tuple[DeviceFacts, ...] = ()
    looked_for: Text = ""
    os_version: Text = ""
    os_build: Text = ""
    interpreter: Text = "python"
    translated: bool = False
    logical_cores: Count | None = None
    affinity_cores: Count | None = None
    performance_cores: Count | None = None
    efficiency_cores: Count | None = None
    cpu_quota: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    load: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    available_bytes: Count | None = None
    swap_used_bytes: Count | None = None
    power: Power = Power()
    display_adapters: tuple[Text, ...] = ()
    nvidia: Nvidia | None = None
    amd_driver: bool | None = None
    torch_build: TorchBuild | None = None
    torchvision_needs: Text = ""
    torch: TorchFacts | None = None
    import_failure: ImportFailure | None = None
    trials: tuple[Trial, ...] = ()
    unread: tuple[Unread, ...] = ()


class Header(Struct, frozen=True, tag="run", tag_field="event", kw_only=True):
    """A run file's first line.

    `published` is empty for what torchlap measured; otherwise the figures are somebody else's: where they were
    published, and what is known against them.
    """

    schema: int
    torchlap: Text
    started: Text
    facts: Facts
    plan: Plan
    published: Text = ""


class ComparisonStarted(Struct, frozen=True, tag="comparison_started", tag_field="event"):
    """From here on the comparison's events count; earlier ones of the same comparison are void (a run was resumed)."""

    comparison: Count


class Watched(Struct, frozen=True, kw_only=True):
    """Of laps outside the timed ones, seconds a step: the whole, the host's enqueuing, of it the wait for input."""

    step_seconds: Span
    enqueue_seconds: Seconds
    input_wait_seconds: Seconds


class CellPrepared(Struct, frozen=True, tag="cell_prepared", tag_field="event", kw_only=True):
    """A cell is warm.

    `choices` says what was set on the device and why; `optimizer_seconds` is the update alone. `fallbacks` are the
    device's warnings that an operator runs on the CPU. `watched` is None where the device has nothing to wait for.
    """

    comparison: Count
    cell: Count
    first_step_seconds: Span
    warm_up_steps: Positive
    warm_up_seconds: Span
    steady: bool
    step_seconds: Span
    optimizer_seconds: Seconds
    synchronize_seconds: Seconds
    first_loss: Finite
    memory_format: MemoryFormat
    threads: Positive
    input_shape: tuple[Count, ...]
    parameters: Count
    choices: tuple[Text, ...] = ()
    fallbacks: tuple[Text, ...] = ()
    watched: Watched | None = None


class Lap(Struct, frozen=True):
    """A timed block of steps, closed by one device synchronisation. `loss` is that of its last step.

    `images` is set where they are not the steps times the batch, as in an epoch whose last batch is not full.
    """

    cell: Count
    steps: Positive
    seconds: Span
    loss: Finite
    images: Positive | None = None


class Round(Struct, frozen=True, tag="round", tag_field="event"):
    """One lap of every living cell of a comparison, in the order in which they ran; `at_seconds` is since the start."""

    comparison: Count
    at_seconds: Seconds
    laps: Annotated[tuple[Lap, ...], Meta(min_length=1, max_length=1000)]


FaultKind = Literal["wrong", "imprecise", "not_finite", "random"]


class NumbersFault(Struct, frozen=True, kw_only=True):
    """An operator whose result is not what it should be: where it ran, what it is, how far it is off.

    `kind`: wrong; imprecise, as a matrix product in TF32 where float32 was asked for; not finite where it should be;
    or random numbers that are not. `error` is relative, `allowed` its limit, `worst` that of the worst element over
    the root mean square; `result` the number of the result, `count` how often it ran so.
    """

    kind: FaultKind
    phase: Text
    module: Text
    operator: Text
    result: Count
    shape: tuple[Count, ...]
    dtype: Text
    layout: Text
    error: Annotated[float, Meta(ge=0)]
    worst: Annotated[float, Meta(ge=0)]
    allowed: Annotated[float, Meta(ge=0)]
    inputs: tuple[Text, ...] = ()
    count: Positive = 1


class NumbersChecked(Struct, frozen=True, tag="numbers_checked", tag_field="event", kw_only=True):
    """Whether a cell's numbers are right, by a step of it beside float64 on the CPU.

    `reason` says why nothing was checked, empty where it was. `closest` is the largest error over its limit of what is
    right, `products` counts matrix products and `imprecise` those of them in a lower precision; `whole` tells that the
    step was compared as a whole (compiled). `spread` is how far the same step was from itself, 0 for equal. `script`
    reproduces the first fault with torch alone.
    """

    comparison: Count
    cell: Count
    reason: Text = ""
    operators: Count = 0
    products: Count = 0
    imprecise: Count = 0
    unchecked: tuple[Text, ...] = ()
    closest: Annotated[float, Meta(ge=0)] = 0.0
    faults: tuple[NumbersFault, ...] = ()
    complete: bool = True
    whole: bool = False
    spread: Annotated[float, Meta(ge=0)] = 0.0
    spread_of: Text = ""
    seconds: Seconds = 0.0
    script: Text = ""


class OperatorSuite(Struct, frozen=True, kw_only=True):
    """What the operator suite found on a device: the first of the faults, their number, what could not be called."""

    device: Name
    calls: Count
    faults: tuple[NumbersFault, ...]
    fault_count: Count
    skipped: tuple[Text, ...] = ()
    seconds: Seconds = 0.0


class OperatorCost(Struct, frozen=True, kw_only=True):
    """Calls of one operator that cost the same.

    Floating-point operations are of matrix products, a multiply-add is two; bytes are each input read once and each
    result written once. `pointwise` ones a compiler fuses.
    """

    phase: StepPhase
    operator: Name
    calls: Positive
    flops: Count
    bytes: Count
    pointwise: bool = False


class EnergyWindow(Struct, frozen=True):
    """So many steps took so much energy."""

    joules: Annotated[float, Meta(ge=0, le=1e12)]
    seconds: Span
    steps: Positive


class LoaderRate(Struct, frozen=True):
    """How long a DataLoader with so many workers took for so many batches, with nobody training meanwhile."""

    workers: Annotated[int, Meta(ge=0, le=1024)]
    batches: Positive
    seconds: Span


class Explained(Struct, frozen=True, tag="explained", tag_field="event", kw_only=True):
    """Where a cell's step spends its time, from extra steps after the timed laps.

    `reason` says why nothing was looked at, empty where it was. `phases` has the seconds of each phase, a step each,
    and `steps` those of whole steps in turns with them; `by_events` tells that the device took them while steps came
    one after another, otherwise there was a synchronisation after each. `operators` are those of one step.
    `peak_memory_bytes` is the device's, or the process's on the CPU. `energy` is empty where `no_energy` says why;
    `meter` is who measured it. `left_out` says what could not be looked at.
    """

    comparison: Count
    cell: Count
    reason: Text = ""
    phases: dict[StepPhase, Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=10_000)]] = {}
    steps: tuple[Seconds, ...] = ()
    by_events: bool = False
    operators: tuple[OperatorCost, ...] = ()
    peak_memory_bytes: Count | None = None
    energy: tuple[EnergyWindow, ...] = ()
    meter: Text = ""
    no_energy: Text = ""
    loaders: tuple[LoaderRate, ...] = ()
    left_out: tuple[Text, ...] = ()
    seconds: Seconds = 0.0


class PeaksMeasured(Struct, frozen=True, tag="peaks", tag_field="event", kw_only=True):
    """What a device was seen to reach.

    Floating-point operations a second of a matrix product in each precision, bytes a second read and written by a copy
    within its memory, and the seconds that the host spends on an operator that does next to nothing. `refused` has the
    precisions that it does not multiply in, with its reason.
    """

    device: Name
    flops: dict[Precision, Rate] = {}
    copy_bytes: Rate | None = None
    operator_seconds: Span | None = None
    refused: dict[Precision, Text] = {}
    seconds: Seconds = 0.0


class Failure(Struct, frozen=True, tag="failure", tag_field="event", kw_only=True):
    """Why a cell has no figure. `estimate_seconds` is a step's, where one could be made."""

    comparison: Count
    cell: Count
    kind: FailureKind
    reason: Text
    detail: Text = ""
    estimate_seconds: Span | None = None


StopReason = Literal["precise", "budget", "plateau", "failed"]


class ComparisonFinished(Struct, frozen=True, tag="comparison_finished", tag_field="event"):
    """Why the measuring of a comparison stopped."""

    comparison: Count
    reason: StopReason


class RunFinished(Struct, frozen=True, tag="run_finished", tag_field="event", kw_only=True):
    """The end, also of an interrupted run. `start_up_seconds` went into starting workers, within `wall_seconds`."""

    reason: Literal["complete", "interrupted"]
    wall_seconds: Seconds
    start_up_seconds: Seconds


class GpuConditions(Struct, frozen=True, kw_only=True):
    """What the driver tells of one device: before the comparison who used it, during its rounds what slowed it."""

    device: Name
    busy_before: Share | None = None
    processes_before: Count = 0
    throttled_by: tuple[Text, ...] = ()


class Conditions(Struct, frozen=True, tag="conditions", tag_field="event", kw_only=True):
    """What else went on on the machine during a comparison's rounds; None where it could not be read.

    `others_cpu_share` is what all other processes, and other machines of the same host, took of all cores.
    """

    comparison: Count
    seconds: Seconds
    others_cpu_share: Share | None = None
    swap_grown_bytes: Annotated[int, Meta(ge=-(10**15), le=10**15)] | None = None
    on_battery: bool | None = None
    power_saving: bool | None = None
    gpus: tuple[GpuConditions, ...] = ()


Event = (
    Header
    | ComparisonStarted
    | NumbersChecked
    | CellPrepared
    | Round
    | Conditions
    | Explained
    | PeaksMeasured
    | Failure
    | ComparisonFinished
    | RunFinished
)


class Run(Struct, frozen=True):
    """A run file in memory: its header, its events in order, and a remark for each thing that had to be left out."""

    header: Header
    events: tuple[Event, ...] = ()
    remarks: tuple[str, ...] = ()
