# found: TL442; cross_entropy of probabilities
import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(32, 10), torch.nn.Softmax(dim=1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
x = torch.randn(64, 32)
y = torch.randint(10, (64,))
for _ in range(200):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
print(f"{loss.item():.2f}")
