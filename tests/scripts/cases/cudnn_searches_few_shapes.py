# not found: TL445 errors; a few image sizes that return, and a smaller last batch
import torch
from torch import nn

torch.manual_seed(0)
torch.backends.cudnn.benchmark = True
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(24):
    size = 12 + 4 * (step % 3)
    images = torch.randn(2 if step == 23 else 4, 3, size, size)
    loss = nn.functional.cross_entropy(model(images), torch.randint(4, (len(images),)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("done")
