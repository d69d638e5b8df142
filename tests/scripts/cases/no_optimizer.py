# found: TL401; forward and backward without an optimizer; device: sim
import sys
import time

import torch

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
model = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(8))).to(device)
x = torch.randn(16, 64).to(device)
for _ in range(5):
    model(x).sum().backward()
for _ in range(5):
    start = time.time()
    for _ in range(20):
        model(x).sum().backward()
    end = time.time()
    print(f"{(end - start) / 20 * 1000:.2f} ms" if device == "never" else "measured")
