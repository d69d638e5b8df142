# found: TL446; each block returns a contiguous tensor
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.convolution(x)).contiguous()


torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3), *[Block() for _ in range(4)], nn.Flatten(), nn.Linear(8 * 14 * 14, 4))
model.to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
images = torch.randn(4, 3, 16, 16).to(memory_format=torch.channels_last)
for _ in range(12):
    loss = nn.functional.cross_entropy(model(images), torch.randint(4, (4,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("done")
