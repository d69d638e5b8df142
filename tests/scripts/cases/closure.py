# not found: errors; gradients are computed within the step
import torch

torch.manual_seed(0)
x = torch.randn(64, 8)
y = x @ torch.randn(8, 1)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=50)


def closure():
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    return loss


first = closure().item()
optimizer.zero_grad(set_to_none=True)
optimizer.step(closure)
print(f"{first:.2f} -> {closure().item():.4f}")
