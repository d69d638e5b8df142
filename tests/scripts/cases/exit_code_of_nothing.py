# nothing: training in child processes
import torch
import torch.multiprocessing as mp


def train(rank):
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(50):  # no zero_grad: a fault
        model(torch.ones(2, 4)).square().mean().backward()
        optimizer.step()


if __name__ == "__main__":
    mp.spawn(train, nprocs=2)
    print("done")
