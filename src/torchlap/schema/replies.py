"""What a worker answers: one line of JSON each."""

from msgspec import Struct

from torchlap.schema.base import Count, FailureKind, Finite, Positive, Seconds, Span
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.energy import IdlePower, Joules
from torchlap.schema.events import Preparation
from torchlap.schema.machine import DeviceFacts, TorchFacts, Trial
from torchlap.schema.numerics import Numerics, OperatorSuite
from torchlap.schema.ranks import Link, RankFacts, RankNumerics
from torchlap.schema.tuning import Trajectory


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
