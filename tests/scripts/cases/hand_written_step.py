# found: TL406; parameters are updated by hand
import time

import torch

torch.manual_seed(0)
w = torch.randn(8, 1, requires_grad=True)
x = torch.randn(256, 8)
y = x @ torch.randn(8, 1)
start = time.time()
for step in range(200):
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        w.grad.zero_()
seconds = time.time() - start
print("trained", round(loss.item(), 3))
