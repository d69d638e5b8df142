# not found: errors TL420
import torch
from torch import nn
torch.manual_seed(0)
vgg = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3)).eval()
for p in vgg.parameters(): p.requires_grad_(False)
target = vgg(torch.rand(1, 3, 16, 16)).detach()
img = torch.rand(1, 3, 16, 16).requires_grad_()
opt = torch.optim.LBFGS([img])
run = [0]
while run[0] < 60:
    def closure():
        opt.zero_grad()
        loss = nn.functional.mse_loss(vgg(img), target)
        loss.backward()
        run[0] += 1
        return loss
    opt.step(closure)
print("done")
