# found: TL445; each batch has another image size
import torch
from torch import nn

torch.manual_seed(0)
torch.backends.cudnn.benchmark = True
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(24):
    images = torch.randn(4, 3, 12 + step, 12 + step)
    loss = nn.functional.cross_entropy(model(images), torch.randint(4, (4,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("done")
