# not found: TL447 TL435 errors; the exponentials are of small numbers
import torch

torch.manual_seed(0)
x = 0.1 * torch.randn(128, 64)
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
for _ in range(12):
    distances = (model(x) - x).square()
    loss = -torch.exp(-distances).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("done")
