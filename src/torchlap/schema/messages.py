"""What the judge and a worker say to each other: one JSON line a message, requests down, replies up."""

import signal

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from torchlap.schema.base import FailureKind, Finite, Span
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.events import Preparation
from torchlap.schema.machine import DeviceFacts, TorchFacts
from torchlap.schema.numerics import Numerics, OperatorSuite
from torchlap.schema.recipe import MemoryFormat, Precision
from torchlap.schema.workload import Cell, DataName, Weights

WHERE_SIGNAL = signal.SIGUSR1
"""Asks a worker that hangs where it is; it prints its stack into its log."""

LONGEST_LINE = 1 << 20
"""Bytes: a worker that says more in one line is not one of ours."""


class Hello(Struct, frozen=True, tag="hello"):
    """Ask a new worker whether it is up."""


class Describe(Struct, frozen=True, tag="describe"):
    """Ask which devices and models torch and torchvision have here."""


class TryOut(Struct, frozen=True, tag="try_out"):
    """Ask to use a device a little: allocate, multiply, train, copy back; and to try the operators of the models."""

    device: str


class Check(Struct, frozen=True, tag="check"):
    """Ask to build a model once, on the CPU, and to have its data, so that what is wrong is told before measuring."""

    model: str
    batch: int
    weights: Weights
    data: DataName


class Build(Struct, frozen=True, tag="build", kw_only=True):
    """Ask to put a cell's model and data on its device; no step is run yet."""

    cell: Cell
    data: DataName
    weights: Weights
    threads: int
    threads_reason: str


class WarmUp(Struct, frozen=True, tag="warm_up", kw_only=True):
    """Ask to warm up what was built, within about `limit_seconds` once the first step is done.

    The memory format is what was chosen for the same cell before; the hint, at another batch.
    """

    limit_seconds: float
    memory_format: MemoryFormat = "auto"
    memory_format_hint: MemoryFormat = "auto"


class Verify(Struct, frozen=True, tag="verify", kw_only=True):
    """Ask whether the numbers of what was built are right; after `limit_seconds` the rest is left out.

    `sampled`: of large element-wise operators look at a part.
    """

    limit_seconds: float
    sampled: bool = False


class CheckSuite(Struct, frozen=True, tag="check_suite", kw_only=True):
    """Ask to run the operator suite on a device; `thorough` adds the large sizes."""

    device: str
    thorough: bool = False


class RunLap(Struct, frozen=True, tag="lap"):
    """Ask for one lap of `steps`, after `lead_in` steps that are not timed."""

    steps: int
    lead_in: int


class Explain(Struct, frozen=True, tag="explain"):
    """Ask where the step that was prepared, which takes `step_seconds`, spends them, within about `limit_seconds`."""

    limit_seconds: float
    step_seconds: float


class MeasurePeaks(Struct, frozen=True, tag="measure_peaks"):
    """Ask what the device of the cell reaches, within about `limit_seconds`, but for the precisions that are known."""

    limit_seconds: float
    known: tuple[Precision, ...] = ()


Request = Hello | Describe | TryOut | Check | Build | Verify | CheckSuite | WarmUp | RunLap | Explain | MeasurePeaks


class Ready(Struct, frozen=True, tag="ready"):
    """The worker has torch imported."""


class Description(Struct, frozen=True, tag="description"):
    """What torch and torchvision offer here; `looked_for` says in words which accelerators were looked for."""

    devices: tuple[DeviceFacts, ...]
    models: tuple[str, ...]
    looked_for: str
    torch: TorchFacts | None = None


class Tried(Struct, frozen=True, tag="tried", kw_only=True):
    """The device was tested; `wrong`, `missing` and `fallbacks` are those of `torchlap.schema.machine.Trial`."""

    seconds: float
    wrong: str = ""
    missing: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()


class Checked(Struct, frozen=True, tag="checked"):
    """The model can be built."""

    parameters: int


class Built(Struct, frozen=True, tag="built"):
    """The model and its data are on the device."""


class Verified(Struct, frozen=True, tag="verified"):
    """What the check of the cell's results found."""

    numerics: Numerics


class SuiteChecked(Struct, frozen=True, tag="suite_checked"):
    """What the operator suite found."""

    found: OperatorSuite


class Progress(Struct, frozen=True, tag="progress"):
    """A sign of life from a long preparation."""

    doing: str


class Prepared(Struct, frozen=True, tag="prepared"):
    """The cell is warm."""

    preparation: Preparation


class LapDone(Struct, frozen=True, tag="lap_done"):
    """A lap's time, and the loss of its last step."""

    seconds: Span
    loss: Finite


class Explained(Struct, frozen=True, tag="explained"):
    """Where the step spends its time."""

    breakdown: Breakdown


class PeaksReached(Struct, frozen=True, tag="peaks"):
    """The rates that the device reaches."""

    peaks: Peaks


class Failed(Struct, frozen=True, tag="failed"):
    """The request could not be fulfilled; the worker is of no further use."""

    kind: FailureKind
    reason: str
    detail: str


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
    | LapDone
    | Explained
    | PeaksReached
    | Failed
)

encode = Encoder().encode
_requests: Decoder[Request] = Decoder(Request)
_replies: Decoder[Reply] = Decoder(Reply)
decode_request = _requests.decode
decode_reply = _replies.decode
