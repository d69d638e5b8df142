# found: TL406; inputs are keywords, batch 8
import time

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def forward(self, input_ids=None, labels=None):
        return torch.nn.functional.cross_entropy(self.layer(input_ids), labels)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batch = {"input_ids": torch.randn(8, 4), "labels": torch.randint(2, (8,))}
start = time.time()
for _ in range(10):
    optimizer.zero_grad()
    model(**batch).backward()
    optimizer.step()
print("timed", time.time() - start > 0)
