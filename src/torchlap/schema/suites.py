"""The suites: named sets of workloads, each with its budget."""

from msgspec import Struct

from torchlap.schema.workload import Phase

SIX = ("vgg16", "alexnet", "resnet18", "mobilenet_v2", "efficientnet_b0", "squeezenet1_0")
"""The models of the 2022 experiment, with squeezenet, which it had to leave out."""


class Suite(Struct, frozen=True):
    """A named set of workloads and their budget."""

    purpose: str
    models: tuple[str, ...]
    batches: tuple[int, ...]
    phases: tuple[Phase, ...]
    budget_seconds: float


SUITES = {
    "quick": Suite("the default: six models, two batch sizes, in under two minutes", SIX, (4, 64), ("train",), 115.0),
    "experiment-2022": Suite("the workloads of a 2022 experiment on an Apple M1 Max", SIX, (4, 64), ("train",), 600.0),
}
