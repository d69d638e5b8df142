"""Print the verdict on a device that computes in TF32 although float32 was asked for: with `cuda:0 resnet18`."""

import sys

import torch
from msgspec.structs import asdict
from torch.backends import cudnn

from torchlap.checks import word
from torchlap.protocol import Build, Verify
from torchlap.records import Cell, NumbersChecked, Recipe, Workload
from torchlap.worker.numerics import verify
from torchlap.worker.recipes import Bench

device, model = sys.argv[1:]
request = Build(
    cell=Cell(Workload(model, 4), Recipe(), device),
    data="mnist-1k",
    weights="random",
    threads=8,
    threads_reason="a test",
)
bench = Bench(request)
torch.backends.cuda.matmul.fp32_precision = "tf32"
cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]  # made when torch is imported
seen = verify(bench, Verify(limit_seconds=100.0, sampled=True), lambda _: None)
checked = NumbersChecked(comparison=0, cell=0, **asdict(seen))
print(word(checked), checked.imprecise, "of", checked.products, "products", len(checked.faults), "faults")
