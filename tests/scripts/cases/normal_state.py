# not found: TL435 errors; every row is used all the time
import torch

torch.manual_seed(0)
table = torch.nn.Embedding(200, 32)
optimizer = torch.optim.Adam(table.parameters(), lr=0.01)
for step in range(60):
    rows = torch.arange(200)
    loss = table(rows).square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("done")
