# clean; devices: cpu sim cuda
import statistics
import sys
from time import monotonic

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 1, 28, 28)[y] + 0.3 * torch.randn(64, 1, 28, 28)).to(device)
y = y.to(device)

backbone = nn.Sequential(  # as if it were pretrained
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
).to(device)
for parameter in backbone.parameters():
    parameter.requires_grad = False
backbone.eval()
head = nn.Sequential(nn.Linear(32 * 14 * 14, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)).to(device)
head.train()
optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.5)
loss_fn = nn.CrossEntropyLoss()


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def train(steps):
    for _ in range(steps):
        with torch.no_grad():
            features = backbone(x)
        optimizer.zero_grad()
        loss = loss_fn(head(features), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
    return loss


losses = [train(1), train(9)]  # warm-up
times = []
for _ in range(5):
    wait()
    start = monotonic()
    losses.append(train(10))
    wait()
    times.append(monotonic() - start)
print("losses:", [round(loss.item(), 3) for loss in losses], f"lr {scheduler.get_last_lr()[0]:g}")
print(f"{640 / statistics.median(times):.0f} images per second")
