# not found: errors TL420
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(.2), nn.Linear(32, 4))
opt = torch.optim.SGD(net.parameters(), 0.1, momentum=.9)
x = torch.randn(128, 16); y = x[:, :4].argmax(1)
def fgsm(xb, yb, eps=.05):
    net.eval()
    xb = xb.clone().requires_grad_()
    nn.functional.cross_entropy(net(xb), yb).backward()
    net.train()
    return (xb + eps * xb.grad.sign()).detach()
for epoch in range(20):
    for i in range(0, 128, 32):
        adv = fgsm(x[i:i+32], y[i:i+32])
        opt.zero_grad()
        nn.functional.cross_entropy(net(adv), y[i:i+32]).backward()
        opt.step()
print("done")
