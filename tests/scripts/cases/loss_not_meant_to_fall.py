# not found: TL413; a policy gradient
import torch

torch.manual_seed(0)
policy = torch.nn.Linear(4, 5)
optimizer = torch.optim.Adam(policy.parameters(), lr=0.05)
rewards = []
for _ in range(200):
    states = torch.randn(64, 4)
    choices = torch.distributions.Categorical(logits=policy(states))
    actions = choices.sample()
    reward = (actions == 0).float()
    rewards.append(reward.mean().item())
    loss = -(choices.log_prob(actions) * (reward - sum(rewards[-10:]) / len(rewards[-10:]))).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"reward {rewards[0]:.1f} -> {rewards[-1]:.1f}")
