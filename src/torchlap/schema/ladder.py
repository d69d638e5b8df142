"""The 2022 experiment, repaired one flaw at a time: its rungs and their figures."""

from msgspec import Struct

from torchlap.schema.events import Run
from torchlap.schema.trace import ScriptRun

MODELS = ("vgg16", "alexnet", "resnet18", "mobilenet_v2", "efficientnet_b0")
SIXTH = "squeezenet1_0"
"""The author had to leave it out."""

BATCHES = (4, 64)
IMAGES = 1000
"""Of an epoch."""

CPU_IMAGES = 32
"""An epoch on a CPU takes minutes; its speed shows sooner."""

AS_PUBLISHED = "as published"


class Figure(Struct, frozen=True):
    """Images a second of a model at a batch size on a device, from one epoch."""

    model: str
    batch: int
    device: str
    images_per_second: float


class Rung(Struct, frozen=True):
    """The protocol with a number of flaws repaired, and its figures."""

    title: str
    figures: tuple[Figure, ...]


class Ladder(Struct, frozen=True):
    """The audit of the protocol as published, the rungs, and torchlap's own measurement, which is the last two."""

    audited: ScriptRun
    devices: tuple[str, ...]
    models: tuple[str, ...]
    rungs: tuple[Rung, ...]
    measured: Run
