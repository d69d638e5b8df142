"""The default table as one writes it by hand, on one device: build there, warm up, laps of 50 ms until +-2 %.

    python benchmarks/bare_table.py DEVICE THREADS [MODEL,... BATCH,...]

Prints a line of JSON for each cell: model, batch, images a second, half-width, laps, and seconds since the process
started. It proves nothing of what torchlap proves; it is the yardstick for time (benchmarks/time_to_table.py).
"""

import json
import sys
import time
from statistics import mean, stdev

BEGUN = time.time() - time.process_time()  # close enough: the interpreter starts in hundredths of a second

import torch  # noqa: E402
import torchvision  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

SIX = "vgg16,alexnet,resnet18,mobilenet_v2,efficientnet_b0,squeezenet1_0"
TARGET, LAP_SECONDS, LEAST_LAPS, MOST_SECONDS = 0.02, 0.05, 3, 3.0
Z = 1.96


def main() -> None:
    """Measure all cells, one after another."""
    name, threads, *rest = sys.argv[1:]
    models, batches = rest or (SIX, "4,64")
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)
    device = torch.device(name)
    if device.type == "cuda":
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # made when torch is imported
    for model in models.split(","):
        for batch in map(int, batches.split(",")):
            print(json.dumps(cell(model, batch, device) | {"at": time.time() - BEGUN}), flush=True)


def cell(model: str, batch: int, device: torch.device) -> dict[str, object]:
    """Build, warm up, lap."""
    with device:
        net = torchvision.models.get_model(model, weights=None, num_classes=10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    inputs = torch.rand(batch, 3, 224, 224, device=device)
    targets = torch.arange(batch, device=device) % 10

    def lap(steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(cross_entropy(net(inputs), targets))
            optimizer.step()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return (time.perf_counter() - begun) / steps

    lap(1)
    step = min(lap(1), lap(1))
    steps = max(1, round(LAP_SECONDS / step))
    lap(steps)
    laps, half_width = [lap(steps)], 1.0
    begun = time.perf_counter()
    while half_width > TARGET or len(laps) < LEAST_LAPS:
        laps.append(lap(steps))
        half_width = Z * stdev(laps) / mean(laps) / len(laps) ** 0.5
        if len(laps) >= LEAST_LAPS and time.perf_counter() - begun > MOST_SECONDS:
            break
    figure = {"images_per_second": batch / mean(laps), "half_width": half_width, "laps": len(laps)}
    return {"model": model, "batch": batch, **figure}


if __name__ == "__main__":
    main()
