# found: TL411 TL420; the loss is a module
import torch
from torch import nn


class FirstColumn(nn.Module):
    def forward(self, outputs, target):
        return (outputs[:, 0] - target).square().mean()


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 32), nn.Dropout(), nn.Linear(32, 10))
model.eval()
criterion = FirstColumn()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x = torch.randn(64, 16)
y = x.sum(1)
for _ in range(50):
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
print("done")
