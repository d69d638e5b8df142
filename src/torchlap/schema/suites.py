"""The suites: named sets of workloads, each with its budget."""

from msgspec import Struct

from torchlap.schema.workload import Phase

SIX = ("vgg16", "alexnet", "resnet18", "mobilenet_v2", "efficientnet_b0", "squeezenet1_0")
"""The models of the 2022 experiment, with squeezenet, which it had to leave out."""


class Suite(Struct, frozen=True):
    """A named set of workloads and their budget.

    Attributes:
        batch_of: the batch size of a model, where it is not all of `batches`.
        seq_of: tokens of a text model's sequences.
    """

    purpose: str
    models: tuple[str, ...]
    batches: tuple[int, ...]
    phases: tuple[Phase, ...]
    budget_seconds: float
    batch_of: dict[str, int] = {}
    seq_of: dict[str, int] = {}

    def batches_of(self, model: str) -> tuple[int, ...]:
        """The batch sizes of a model."""
        return (self.batch_of[model],) if model in self.batch_of else self.batches


SUITES = {
    "quick": Suite("the default: six models, two batch sizes, in under two minutes", SIX, (4, 64), ("train",), 115.0),
    "experiment-2022": Suite("the workloads of a 2022 experiment on an Apple M1 Max", SIX, (4, 64), ("train",), 600.0),
    "apple-2022": Suite(
        "the models and batch sizes of the announcement of PyTorch on Apple silicon in May 2022",
        ("resnet50", "hf:bert-base", "vgg16"),
        (128, 64),
        ("train", "eval"),
        600.0,
        batch_of={"resnet50": 128, "hf:bert-base": 64, "vgg16": 64},
        seq_of={"hf:bert-base": 128},
    ),
    "transformers": Suite(
        "GPT-2 124M at 1,024 tokens, BERT-base at 128, and ViT-B/16",
        ("hf:gpt2", "hf:bert-base", "vit_b_16"),
        (16, 64),
        ("train",),
        300.0,
        batch_of={"hf:gpt2": 16, "hf:bert-base": 64, "vit_b_16": 64},
        seq_of={"hf:gpt2": 1024, "hf:bert-base": 128},
    ),
    "vision": Suite(
        "four generations of image classifiers",
        ("resnet50", "convnext_tiny", "efficientnet_v2_s", "vit_b_16"),
        (64,),
        ("train",),
        300.0,
    ),
}
