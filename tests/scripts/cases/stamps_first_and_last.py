# spans: 20x1 1x20
import time, torch
from torch import nn
net = nn.Linear(32, 1); opt = torch.optim.SGD(net.parameters(), lr=.01)
marks = [time.time()]
for i in range(20):
    opt.zero_grad(); net(torch.randn(32, 32)).square().mean().backward(); opt.step()
    marks.append(time.time())
steps = [b - a for a, b in zip(marks[:-1], marks[1:])]
print(min(steps) > 0, (marks[-1] - marks[0]) / 20 > 0)
