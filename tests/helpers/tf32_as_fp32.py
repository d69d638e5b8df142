"""Print the verdict on a device that computes in TF32 although float32 was requested.

python tests/helpers/tf32_as_fp32.py cuda:0 resnet18
"""

import sys

import torch
from torch.backends import cudnn

from torchlap.judge.numerics import verdict
from torchlap.schema.recipe import Recipe
from torchlap.schema.requests import Build, Verify
from torchlap.schema.workload import Cell, Workload
from torchlap.worker.cell.bench import Bench
from torchlap.worker.numerics.step import verify

device, model = sys.argv[1:]
request = Build(
    slot=0,
    cell=Cell(Workload(model, 4), Recipe(), device),
    data="mnist-1k",
    weights="random",
    threads=8,
    threads_reason="a test",
)
bench = Bench(request)
torch.backends.cuda.matmul.fp32_precision = "tf32"
cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]  # torch creates it when it is imported
numerics = verify(bench, Verify(slot=0, limit_seconds=100.0, sampled=True), lambda _: None)
print(verdict(numerics), numerics.imprecise, "of", numerics.products, "products", len(numerics.faults), "faults")
