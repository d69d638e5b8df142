# not found: errors; one target for all outputs
import torch

torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(16, 8)
for _ in range(50):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), torch.tensor(0.9)).backward()
    optimizer.step()
print("done")
