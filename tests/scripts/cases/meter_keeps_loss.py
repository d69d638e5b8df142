# found: TL415
import time, torch
from torch import nn
torch.manual_seed(0)
class AverageMeter:
    def __init__(self): self.reset()
    def reset(self): self.val = self.avg = self.sum = self.count = 0
    def update(self, val, n=1):
        self.val = val; self.sum += val * n; self.count += n; self.avg = self.sum / self.count
net = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 4)); opt = torch.optim.SGD(net.parameters(), .01)
meter = AverageMeter(); reg = AverageMeter()
x = torch.randn(512, 128); y = torch.randint(4, (512,))
t = time.time()
for i in range(60):
    out = net(x); loss = nn.functional.cross_entropy(out, y)
    opt.zero_grad(); loss.backward(retain_graph=True); opt.step()
    meter.update(loss, x.size(0))
print(time.time() - t > 0)
