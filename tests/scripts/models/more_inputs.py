# Models and batches as people write them: each is measured with its true number of rows, or refused in one sentence.
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

F = nn.functional


def mlp(i=6, o=3): return nn.Sequential(nn.Linear(i, 16), nn.ReLU(), nn.Linear(16, o))


class Triplet(nn.Module):
    def __init__(self): super().__init__(); self.m = mlp(6, 4)
    def forward(self, a, p, n): return self.m(a), self.m(p), self.m(n)


class Stream(IterableDataset):
    def __iter__(self):
        for i in range(40): yield torch.randn(6), i % 3


class Batched(IterableDataset):
    def __iter__(self):
        for i in range(12): yield torch.randn(4 + i % 3, 6), torch.randint(3, (4 + i % 3,))


class Det(nn.Module):
    def __init__(self): super().__init__(); self.c = nn.Conv2d(3, 4, 3)
    def forward(self, images, targets=None):
        s = sum(self.c(i).mean() for i in images); return {"cls": s.square(), "box": s.abs()}


class DictOut(nn.Module):
    def __init__(self): super().__init__(); self.b = mlp(6, 8); self.heads = nn.ModuleDict({"a": nn.Linear(8, 3), "b": nn.Linear(8, 1)})
    def forward(self, x): h = self.b(x); return {k: m(h) for k, m in self.heads.items()}


def losses_in_a_dictionary(batch=8):
    targets = {"a": torch.randint(3, (batch,)), "b": torch.randn(batch, 1)}
    def loss(out, t): return {"a": F.cross_entropy(out["a"], t["a"]), "b": F.mse_loss(out["b"], t["b"])}
    return DictOut(), (torch.randn(batch, 6), targets), loss


def loss_of_three(batch=8):
    x = tuple(torch.randn(batch, 6) for _ in range(3))
    return Triplet(), (x, None), nn.TripletMarginLoss()


def iterable(batch=8):
    return mlp(), DataLoader(Stream(), batch_size=batch)


def iterable_that_makes_batches():
    return mlp(), DataLoader(Batched(), batch_size=None)


def detection_loader(batch=4):
    data = [(torch.rand(3, 16 + i % 3, 16), {"boxes": torch.rand(2, 4), "labels": torch.ones(2).long()}) for i in range(16)]
    return Det(), DataLoader(data, batch_size=batch, collate_fn=lambda rows: tuple(zip(*rows))), lambda out: sum(out.values())


def list_of_images(batch=4):
    return Det(), ([torch.rand(3, 16, 16 + i) for i in range(batch)], None), lambda o: sum(o.values())


def two_optimizers(batch=8):
    m = mlp(); o = [torch.optim.SGD(m[0].parameters(), .1), torch.optim.Adam(m[2].parameters())]
    return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), {"optimizer": o}


def two_optimizers_after_the_loss(batch=8):
    m = mlp(); o = [torch.optim.SGD(m[0].parameters(), .1), torch.optim.Adam(m[2].parameters())]
    return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), nn.CrossEntropyLoss(), o


def step_returns_nothing(batch=8):
    m = mlp(); o = torch.optim.SGD(m.parameters(), .1)
    def train_step(batch):
        x, y = batch; o.zero_grad(); F.cross_entropy(m(x), y).backward(); o.step()
    return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), train_step


def step_returns_a_dictionary(batch=8):
    m = mlp(); o = torch.optim.SGD(m.parameters(), .1)
    def training_step(model, batch):
        x, y = batch; o.zero_grad(); l = F.cross_entropy(model(x), y); l.backward(); o.step(); return {"loss": l, "acc": 0.5}
    return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), training_step


def step_returns_a_number(batch=8):
    m = mlp(); o = torch.optim.SGD(m.parameters(), .1)
    def step(x, y):
        o.zero_grad(); l = F.cross_entropy(m(x), y); l.backward(); o.step(); return l.item()
    return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), step


def lazy(batch=8):
    return nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(3)), (torch.randn(batch, 6), torch.randint(3, (batch,)))


def half_module(batch=8):
    return mlp().half(), (torch.randn(batch, 6), torch.randint(3, (batch,)))


def float64_inputs(batch=8):
    import numpy as np
    return mlp(), (torch.from_numpy(np.random.randn(batch, 6)), torch.randint(3, (batch,)))


def numpy_inputs(batch=8):
    import numpy as np
    return mlp(), (np.random.randn(batch, 6).astype("float32"), np.zeros(batch, dtype="int64"))


def forward_raises(batch=8):
    class M(nn.Module):
        def __init__(s): super().__init__(); s.m = mlp()
        def forward(s, x):
            y = x.view(3, -1, 99)
            return s.m(y)
    return M(), (torch.randn(batch, 6), torch.randint(3, (batch,)))


def as_a_list(batch=8): return [mlp(), (torch.randn(batch, 6), torch.randint(3, (batch,)))]


def class_instead_of_module(batch=8):
    class M(nn.Module):
        def forward(s, x): return x
    return M, (torch.randn(batch, 6), torch.randint(3, (batch,)))


def without_gradients(batch=8):
    class Q(nn.Module):
        def __init__(s): super().__init__(); s.m = mlp()
        @torch.no_grad()
        def forward(s, x): return s.m(x)
    return Q(), (torch.randn(batch, 6), torch.randint(3, (batch,)))


def one_cycle(batch=8):
    m = mlp(); o = torch.optim.SGD(m.parameters(), .1)
    return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), o, torch.optim.lr_scheduler.OneCycleLR(o, .1, total_steps=5)


def plateau(batch=8):
    m = mlp(); o = torch.optim.SGD(m.parameters(), .1)
    return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), o, torch.optim.lr_scheduler.ReduceLROnPlateau(o)


def lbfgs(batch=8):
    m = mlp(); return m, (torch.randn(batch, 6), torch.randint(3, (batch,))), torch.optim.LBFGS(m.parameters())


class Weighted(nn.CrossEntropyLoss):
    moved = ()

    def to(self, device):
        Weighted.moved = (*Weighted.moved, str(device))
        return super().to(device)


def weighted_loss(batch=8):
    return mlp(), (torch.randn(batch, 6), torch.randint(3, (batch,))), Weighted(weight=torch.ones(3))
