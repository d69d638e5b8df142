# not found: TL411; dead ReLU outputs of a compiled model
import time, torch
from torch import nn
class Net(nn.Module):
    def __init__(s):
        super().__init__()
        s.layers = nn.ModuleList([nn.Linear(8 + i, 9 + i) for i in range(12)])
    def forward(s, x):
        for layer in s.layers:
            x = torch.relu(layer(x))
            torch._dynamo.graph_break()
        return x
torch.manual_seed(0)
net = Net(); fast = torch.compile(net, backend="aot_eager")
opt = torch.optim.SGD(net.parameters(), lr=0.01)
x = torch.randn(16, 8)
def step():
    opt.zero_grad(); loss = fast(x).square().mean(); loss.backward(); opt.step()
for _ in range(4): step()
t = []
for _ in range(5):
    b = time.perf_counter()
    for _ in range(20): step()
    t.append(time.perf_counter() - b)
from torch._dynamo.utils import counters
print("ms a step", [round(v / 20 * 1e3, 2) for v in t], dict(counters["stats"]), "frames", dict(counters["frames"]))
