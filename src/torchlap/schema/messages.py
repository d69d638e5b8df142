"""The messages between the judge and a worker: one line of JSON each, requests and replies."""

import signal

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, Encoder

from torchlap.schema.base import Count, FailureKind, Finite, Name, Positive, Seconds, Span, Text
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.energy import IdlePower, Joules
from torchlap.schema.events import Preparation
from torchlap.schema.machine import DeviceFacts, TorchFacts, Trial
from torchlap.schema.numerics import Numerics, OperatorSuite
from torchlap.schema.ranks import Link, RankFacts, RankNumerics
from torchlap.schema.recipe import MemoryFormat, Precision
from torchlap.schema.tuning import TRAJECTORY_STEPS, Trajectory
from torchlap.schema.workload import Cell, DataName, Weights

WHERE_SIGNAL = signal.SIGUSR1
"""Asks a hung worker to print its stack into its log."""

INVALID = (DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a message may raise."""

LONGEST_LINE = 1 << 20
"""Bytes. No message is longer."""


JUDGE_ADDRESS, JUDGE_TOKEN, RANK_DEVICES = "TORCHLAP_JUDGE", "TORCHLAP_TOKEN", "TORCHLAP_DEVICES"
"""The variables by which a rank knows the judge's address, HOST:PORT, what it has to say there first, and the kind of
device that the ranks have."""


class Join(Struct, frozen=True, kw_only=True):
    """The first line of a rank to the judge, before any request."""

    token: Text
    rank: Count
    world_size: Positive
    pid: Positive
    host: Name


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


class Ready(Struct, frozen=True, tag="ready"):
    """The worker has torch imported."""


class Description(Struct, frozen=True, tag="description"):
    """What torch and torchvision offer here; `looked_for` says which accelerators torch was asked for."""

    devices: tuple[DeviceFacts, ...]
    models: tuple[str, ...]
    looked_for: str
    torch: TorchFacts | None = None


class Tried(Struct, frozen=True, tag="tried"):
    """The device was tested."""

    trial: Trial


class Checked(Struct, frozen=True, tag="checked"):
    """The model can be built.

    Attributes:
        rows: of its own batch; None if it is trained on torchlap's images.
        has_loader: that batch comes from its own DataLoader.
        sha256: of the user's file.
        inputs: shape and type of each tensor of its own batch.
    """

    parameters: int
    rows: int | None = None
    has_loader: bool = False
    unit: str = "images"
    sha256: str = ""
    inputs: tuple[str, ...] = ()


class Built(Struct, frozen=True, tag="built"):
    """The model and its data are on the device."""


class Verified(Struct, frozen=True, tag="verified"):
    """What the check of the cell's results found."""

    numerics: Numerics


class SuiteChecked(Struct, frozen=True, tag="suite_checked"):
    """What the operator suite found."""

    found: OperatorSuite


class Progress(Struct, frozen=True, tag="progress"):
    """A sign of life during a long request."""

    doing: str


class Prepared(Struct, frozen=True, tag="prepared"):
    """The cell is warm."""

    preparation: Preparation


class LapTime(Struct, frozen=True):
    """A lap's time, the loss of its last step, and its items where they are not steps x batch.

    Attributes:
        rank_seconds: of each rank, where there are several; `seconds` is the longest.
    """

    seconds: Span
    loss: Finite
    items: Positive | None = None
    rank_seconds: tuple[Span, ...] = ()


class Failed(Struct, frozen=True, tag="failed"):
    """The request failed; the worker cannot be used any further."""

    kind: FailureKind
    reason: str
    detail: str


class Used(Struct, frozen=True):
    """The energy that a device used from before the first lap of a turn until after its last, and how long that was."""

    joules: Joules
    seconds: Span


class LapsDone(Struct, frozen=True, tag="laps_done"):
    """The laps of a turn, in order; `failed` is why it ended early, if it did.

    Attributes:
        used: only if it was requested, the device has a meter, and the turn did not fail.
    """

    laps: tuple[LapTime, ...]
    failed: Failed | None = None
    used: Used | None = None


class Released(Struct, frozen=True, tag="released"):
    """The worker holds no cell."""


class Explained(Struct, frozen=True, tag="explained"):
    """Where the step spends its time."""

    breakdown: Breakdown


class TrainingBegun(Struct, frozen=True, tag="training_begun", kw_only=True):
    """The training is ready; the fields are those of the event `TrainingStarted`."""

    warm_up_seconds: Seconds
    epoch_steps: Positive
    train_items: Count | None
    held_out: Positive
    parameters: Count


class TrainedOn(Struct, frozen=True, tag="trained_on", kw_only=True):
    """Steps were trained, and their result was evaluated; the fields are those of the event `Evaluated`."""

    seconds: Span
    items: Count
    loss: Finite
    correct: Count
    of: Positive
    evaluation_seconds: Seconds


class IdleRead(Struct, frozen=True, tag="idle_read"):
    """What the meter counted, or why it could not be read."""

    idle: IdlePower


class PeaksReached(Struct, frozen=True, tag="peaks"):
    """The rates that the device reaches."""

    peaks: Peaks


class RanksDescribed(Struct, frozen=True, tag="ranks_described"):
    """What ranks are; each replies with itself."""

    ranks: tuple[RankFacts, ...]


class AllReduced(Struct, frozen=True, tag="all_reduced"):
    """What all-reduces of the gradients' size took."""

    link: Link


class RanksChecked(Struct, frozen=True, tag="ranks_checked"):
    """Whether the ranks together compute what one device would."""

    numerics: RankNumerics


class Followed(Struct, frozen=True, tag="followed"):
    """The losses of the first steps."""

    trajectory: Trajectory


Reply = (
    Ready
    | Description
    | Tried
    | Checked
    | Built
    | Verified
    | SuiteChecked
    | Progress
    | Prepared
    | LapsDone
    | Released
    | Explained
    | PeaksReached
    | RanksDescribed
    | AllReduced
    | RanksChecked
    | Followed
    | IdleRead
    | TrainingBegun
    | TrainedOn
    | Failed
)

encode = Encoder().encode
_requests: Decoder[Request] = Decoder(Request)
_replies: Decoder[Reply] = Decoder(Reply)
decode_request = _requests.decode
decode_reply = _replies.decode
