# clean; devices: cpu sim cuda
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(100, 800), nn.ReLU(), nn.Dropout(0.1), nn.Linear(800, 10))

    def training_step(self, batch):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Trainer:
    def __init__(self, device, epochs):
        self.device, self.epochs = device, epochs
        self.times, self.losses = [], []

    def wait(self):
        if self.device != "cpu":
            getattr(torch, self.device.split(":")[0]).synchronize()

    def fit(self, module, batches):
        module.to(self.device)
        batches = [tuple(each.to(self.device) for each in batch) for batch in batches]
        optimizer = module.configure_optimizers()
        for epoch in range(self.epochs):
            module.train()
            self.wait()
            start = time.monotonic()
            for batch in batches:
                optimizer.zero_grad()
                loss = module.training_step(batch)
                loss.backward()
                optimizer.step()
            self.wait()
            if epoch > 0:  # the first epoch is warm-up
                self.times.append(time.monotonic() - start)
            self.losses.append(loss.item())


torch.manual_seed(0)
labels = torch.randint(10, (12, 64))
inputs = torch.randn(10, 100)[labels] + torch.randn(12, 64, 100)
trainer = Trainer(sys.argv[1] if len(sys.argv) > 1 else "cpu", epochs=6)
trainer.fit(Classifier(), list(zip(inputs, labels)))
print("losses:", [round(loss, 3) for loss in trainer.losses])
print(f"median epoch: {statistics.median(trainer.times) * 1000:.1f} ms")
