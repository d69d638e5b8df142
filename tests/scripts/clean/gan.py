# clean; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
real = (torch.randn(10, 64)[torch.randint(10, (64,))] + 0.2 * torch.randn(64, 64)).to(device)
ones, zeros = torch.ones(64, 1).to(device), torch.zeros(64, 1).to(device)
generator = nn.Sequential(nn.Linear(32, 512), nn.ReLU(), nn.Linear(512, 64)).to(device).train()
discriminator = nn.Sequential(nn.Linear(64, 512), nn.LeakyReLU(0.2), nn.Linear(512, 1)).to(device).train()
optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
criterion = nn.BCEWithLogitsLoss()


def step():
    noise = torch.randn(64, 32, device=device)
    fake = generator(noise)

    optimizer_d.zero_grad()
    loss_d = criterion(discriminator(real), ones) + criterion(discriminator(fake.detach()), zeros)
    loss_d.backward()
    optimizer_d.step()

    optimizer_g.zero_grad()
    loss_g = criterion(discriminator(fake), ones)
    loss_g.backward()
    optimizer_g.step()
    return loss_d, loss_g


first_d, first_g = step()
for _ in range(9):
    step()
times = []
for _ in range(5):
    wait()
    start = time.time()
    for _ in range(10):
        loss_d, loss_g = step()
    wait()
    times.append(time.time() - start)
print(f"discriminator {first_d.item():.3f} -> {loss_d.item():.3f}")
print(f"generator {first_g.item():.3f} -> {loss_g.item():.3f}")
print(f"{statistics.median(times) / 10 * 1000:.2f} ms per step")
