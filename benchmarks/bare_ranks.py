"""A hand-written training loop on one GPU, or on several with DistributedDataParallel, without torchlap.

    python benchmarks/bare_ranks.py MODEL BATCH SECONDS
    python -m torch.distributed.run --standalone --nproc-per-node 2 benchmarks/bare_ranks.py MODEL BATCH SECONDS

bf16, channels_last, fused Adam, a fixed batch. The first rank prints the images a second of one GPU: the median lap.
"""

import os
import sys
import time
from statistics import median

import torch
import torchvision
from torch.distributed import broadcast, destroy_process_group, init_process_group
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

WARM_UP_STEPS, LAP_STEPS = 30, 20

model, batch, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
torch.cuda.set_device(device)
torch.manual_seed(1)
network: torch.nn.Module = torchvision.models.get_model(model, weights=None, num_classes=10)
network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # known at run time
if ranks > 1:
    init_process_group("nccl", device_id=device)
    network = DistributedDataParallel(network, device_ids=[device.index])
optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
images = torch.randn(batch, 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)
labels = torch.randint(10, (batch,), device=device)


def train(steps: int) -> float:
    """Train for some steps; the seconds that they took."""
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


train(WARM_UP_STEPS)
laps = torch.tensor(max(3, int(seconds / train(LAP_STEPS))), device=device)
if ranks > 1:
    broadcast(laps, 0)
rates = [batch * LAP_STEPS / train(LAP_STEPS) for _ in range(int(laps))]
if rank == 0:
    print(median(rates))
if ranks > 1:
    destroy_process_group()
