# not found: errors; a batch takes a few of the actions
import torch

torch.manual_seed(0)
q = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 18))
optimizer = torch.optim.Adam(q.parameters(), lr=0.01)
trained = torch.zeros(18, dtype=torch.bool)
for _ in range(200):
    states, actions = torch.randn(8, 4), torch.randint(18, (8, 1))
    values = q(states).gather(1, actions).squeeze(1)
    loss = torch.nn.functional.smooth_l1_loss(values, states.sum(1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    trained |= q[2].weight.grad.abs().sum(1) > 0
print("rows trained:", int(trained.sum()), "of 18")
