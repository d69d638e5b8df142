"""What the judge asks of a worker: one line of JSON each."""

from msgspec import Struct

from torchlap.schema.base import Positive, Seconds
from torchlap.schema.recipe import MemoryFormat, Precision
from torchlap.schema.tuning import TRAJECTORY_STEPS
from torchlap.schema.workload import Cell, DataName, Weights

TEMPORARY_FOLDER = "TORCHLAP_TEMPORARY"
"""The variable that tells a worker's process where its temporary files go; the judge removes the folder."""


class Hello(Struct, frozen=True, tag="hello"):
    """Ask a new worker whether it is ready."""


class Describe(Struct, frozen=True, tag="describe"):
    """Ask which devices and models torch and torchvision offer here."""


class TryOut(Struct, frozen=True, tag="try_out"):
    """Ask to test a device: allocate, multiply, train, copy back, and run the operators of the suites' models."""

    device: str


class Check(Struct, frozen=True, tag="check"):
    """Ask to build a model once, on the CPU, and to load its data, so that errors show before anything is measured.

    Attributes:
        strict: refuse a batch of other rows than `batch`, because the user asked for it.
        items: in a batch, as the user gave them beside the model; `unit` is what the user calls them.
        held_out: it needs data to measure its accuracy on.
    """

    model: str
    batch: int
    weights: Weights
    data: DataName
    strict: bool = True
    seq: int | None = None
    items: int | None = None
    unit: str = ""
    held_out: bool = False


class Build(Struct, frozen=True, tag="build", kw_only=True):
    """Ask to put a cell's model and data on its device, beside the cells that are there; no step is run yet.

    Attributes:
        slot: the number by which later requests name the cell; a cell that was in it is dropped.
        items: in a batch, as the user gave them beside the model; `unit` is what the user calls them.
        seed: of the initial weights.
    """

    slot: int
    cell: Cell
    data: DataName
    weights: Weights
    threads: int
    threads_reason: str
    items: int | None = None
    unit: str = ""
    seed: int = 1


class WarmUp(Struct, frozen=True, tag="warm_up", kw_only=True):
    """Ask to warm up the cell, within about `limit_seconds` after its first step.

    Attributes:
        memory_format: the one that was chosen for the same cell before, or "auto".
    """

    slot: int
    limit_seconds: float
    memory_format: MemoryFormat = "auto"


class Verify(Struct, frozen=True, tag="verify", kw_only=True):
    """Ask whether the cell computes correct results; what does not fit into `limit_seconds` is left out.

    Attributes:
        sampled: of large calls, check a part, and random combinations of products.
        seed: of the parts and combinations; the same seed repeats a check exactly.
    """

    slot: int
    limit_seconds: float
    sampled: bool = False
    seed: int = 0


class CheckSuite(Struct, frozen=True, tag="check_suite", kw_only=True):
    """Ask to run the operator suite on a device; `thorough` adds the large sizes.

    Attributes:
        limit_seconds: calls that would begin later are left out.
    """

    device: str
    thorough: bool = False
    limit_seconds: Seconds = 1e9


class RunLaps(Struct, frozen=True, tag="laps", kw_only=True):
    """Ask for a turn of a cell: `lead_in` steps that are not timed, then up to `laps` laps of `steps` each.

    Attributes:
        seconds: after so many no further lap begins; it matters where steps become slower.
        settle_seconds: how long the worker may wait afterwards until its threads are idle, for another worker's turn.
        metered: read the device's energy meter before the first lap and after the last.
        wait_seconds: before the lead-in, chosen by chance: turns must not keep in step with the meter's counter.
    """

    slot: int
    steps: int
    lead_in: int
    laps: int = 1
    seconds: float = 1e9
    settle_seconds: float = 0.0
    metered: bool = False
    wait_seconds: float = 0.0


class Explain(Struct, frozen=True, tag="explain", kw_only=True):
    """Ask where the cell's step, which takes `step_seconds`, spends its time, within about `limit_seconds`."""

    slot: int
    limit_seconds: float
    step_seconds: float


class MeasurePeaks(Struct, frozen=True, tag="measure_peaks", kw_only=True):
    """Ask for the peak rates of the cell's device, without the `known` precisions, within about `limit_seconds`."""

    slot: int
    limit_seconds: float
    known: tuple[Precision, ...] = ()


class DescribeRanks(Struct, frozen=True, tag="describe_ranks"):
    """Ask each rank of the cell what it is and how much memory it needed."""

    slot: int


class AllReduce(Struct, frozen=True, tag="all_reduce", kw_only=True):
    """Ask to time all-reduces of so many bytes, within about `limit_seconds`."""

    slot: int
    limit_seconds: Seconds


class CheckRanks(Struct, frozen=True, tag="check_ranks", kw_only=True):
    """Ask whether the ranks together compute what one device would; the cells that they held are dropped."""

    build: Build
    steps: Positive = 20


class Follow(Struct, frozen=True, tag="follow", kw_only=True):
    """Ask for the losses of a cell's first training steps; it must have been built, and nothing else.

    Attributes:
        seed: of random numbers in the model.
        perturbation: change each weight before the first step by a random fraction of itself, at most this.
    """

    slot: int
    steps: int = TRAJECTORY_STEPS
    seed: int = 0
    perturbation: float = 0.0


class BeginTraining(Struct, frozen=True, tag="begin_training", kw_only=True):
    """Ask to begin a training of a cell that was just built, from a seed: a warm-up, which is then undone."""

    slot: int
    seed: int
    learning_rate: float
    data: DataName


class TrainOn(Struct, frozen=True, tag="train_on"):
    """Ask to train for so many more steps, and then to evaluate on held-out data."""

    slot: int
    steps: Positive


class MeasureIdle(Struct, frozen=True, tag="measure_idle"):
    """Ask what the energy meter of a device counts while torch is loaded there and nothing runs."""

    device: str


class Release(Struct, frozen=True, tag="release"):
    """Ask to drop all cells, and to hand their memory back to the accelerator; with `trim` also to the system.

    Memory that the next cells can use again need not be cleared page by page, which takes seconds where it is much.
    """

    trim: bool = False


Request = (
    Hello
    | Describe
    | TryOut
    | Check
    | Build
    | Verify
    | CheckSuite
    | WarmUp
    | RunLaps
    | Explain
    | MeasurePeaks
    | DescribeRanks
    | AllReduce
    | CheckRanks
    | Follow
    | MeasureIdle
    | BeginTraining
    | TrainOn
    | Release
)
