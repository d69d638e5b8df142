# found: TL416
import time, torch
from torch import nn
torch.manual_seed(0)
rnn = nn.GRU(16, 64, batch_first=True); head = nn.Linear(64, 4); opt = torch.optim.SGD([*rnn.parameters(), *head.parameters()], 1e-3)
h = torch.zeros(1, 32, 64); times = []
x = torch.randn(32, 6, 16); y = torch.randint(4, (32,))
for i in range(40):
    t = time.perf_counter()
    out, h = rnn(x, h)
    loss = nn.functional.cross_entropy(head(out[:, -1]), y)
    opt.zero_grad(); loss.backward(retain_graph=True)
    times.append(time.perf_counter() - t)
print(times[-1] > 2 * times[2])
