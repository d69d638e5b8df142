# found: TL435; averages of gradients that have become zero decay until they are denormal
import torch

torch.manual_seed(0)
table = torch.nn.Embedding(200, 32)
optimizer = torch.optim.Adam(table.parameters(), lr=0.01)
for step in range(930):
    rows = torch.arange(200) if step < 1 else torch.arange(10)
    loss = table(rows).square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("done")
