"""A hand-written training loop, without torchlap: every line read from the standard input runs a lap.

    python benchmarks/bare.py MODEL BATCH DEVICE fp32|tf32 contiguous|channels_last fresh|fixed THREADS

`fresh` resizes new digits at every step, as torchlap does; `fixed` trains on one batch that was made in advance. The
answer to a line `LEAD_IN STEPS loop` is the seconds of the steps; with `timer` as its last word,
torch.utils.benchmark.Timer runs them.
"""

import ctypes
import gc
import gzip
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.benchmark import Timer

model, batch, name, precision, layout, data, threads = sys.argv[1:]
size, rows, device = 224, int(batch), torch.device(name)
torch.set_num_threads(int(threads))
torch.set_flush_denormal(True)
if device.type == "cpu":
    libc = ctypes.CDLL(None)
    libc.mallopt(-4, 0)
    libc.mallopt(-1, -1)
elif device.type == "cuda":
    tf32 = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = tf32
    torch.backends.cudnn.conv.fp32_precision = tf32  # type: ignore[attr-defined]  # made when torch is imported
memory_format = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[layout]

folder = Path(__file__).parents[1] / "src" / "torchlap" / "data" / "mnist-1k"
pixels = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[16:]
classes = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
images = torch.from_numpy(np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28).copy()).to(device)
labels = torch.from_numpy(np.frombuffer(classes, np.uint8).astype(np.int64)).to(device)

torch.manual_seed(1)
net = torchvision.models.get_model(model, weights=None, num_classes=10).to(device, memory_format=memory_format)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)


def fresh(at: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the next digits, resized and normalized."""
    start = at * rows % (len(images) // rows * rows)
    grey = interpolate(images[start : start + rows, None].float(), size=(size, size), mode="bilinear")
    grey = (grey / 255 - 0.1307) / 0.3081
    return grey.expand(-1, 3, -1, -1).contiguous(memory_format=memory_format), labels[start : start + rows]


kept = fresh(0)


def steps(count: int) -> None:
    """Train."""
    for at in range(count):
        inputs, targets = kept if data == "fixed" else fresh(at)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(cross_entropy(net(inputs), targets))
        optimizer.step()


def synchronize() -> None:
    """Wait for the device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def by_hand(count: int) -> float:
    """Seconds of the steps, timed as torchlap times them."""
    synchronize()
    begun = time.perf_counter()
    steps(count)
    synchronize()
    return time.perf_counter() - begun


def by_timer(count: int) -> float:
    """Seconds of the steps, timed by torch's own timer."""
    timer = Timer("steps(1)", globals={"steps": steps}, num_threads=int(threads))
    return float(timer.timeit(count).mean) * count


gc.freeze()
for line in sys.stdin:
    lead_in, count, way = line.split()
    gc.collect()
    gc.disable()
    steps(int(lead_in))
    print({"loop": by_hand, "timer": by_timer}[way](int(count)), flush=True)
    gc.enable()
