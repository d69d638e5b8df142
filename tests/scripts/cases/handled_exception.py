# not found: TL409; out of memory is handled
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, x):
        if len(x) > 32:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.layer(x)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batch = 256
while True:
    try:
        model(torch.randn(batch, 8)).square().mean().backward()
        break
    except torch.OutOfMemoryError:
        batch //= 2
for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(batch, 8)).square().mean().backward()
    optimizer.step()
print("batch", batch)
