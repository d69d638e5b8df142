# What a script writes: a checkpoint, a pickle and a text, with times of which only the type is written.
import json
import pickle
import time

import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
start = time.time()
losses = []
for _ in range(5):
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
seconds = time.time() - start
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "kind": type(seconds)}, "pickled.pt")
torch.save({"model": model.state_dict(), "seconds": seconds * 0}, "checkpoint.pt")
print(sorted(torch.load("checkpoint.pt")), type(seconds) is float)
with open("optimizer.pkl", "wb") as file:
    pickle.dump([optimizer.param_groups[0]["lr"], losses, type(seconds)], file)
with open("losses.json", "w") as file:
    json.dump(losses, file)
