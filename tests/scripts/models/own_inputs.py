# Source: https://github.com/MrYxJ/calculate-flops.pytorch/issues/17 (a model of two inputs), https://github.com/
# sovrasov/flops-counter.pytorch/issues/122 (siamese, x1 and x2), #56 there (BERT: dict of ids, mask; the model gives loss)
# Fault: none: the model's call is model(x1, x2) or model(**batch) and it returns its own loss in an object.
# Right answer: measure it, or one sentence that says how to hand it over (a wrapper of three lines, shown).
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn


class Twins(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = nn.Linear(20, 8)

    def forward(self, left, right):
        return (self.side(left) - self.side(right)).square().sum(1)


def twins(batch: int = 8):
    return Twins(), ((torch.randn(batch, 20), torch.randn(batch, 20)), torch.rand(batch)), nn.functional.mse_loss


class Out(OrderedDict):  # as transformers' ModelOutput: a dictionary whose items are attributes, too
    def __getattr__(self, name):
        return self[name]


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(30, 16), nn.Linear(16, 30)

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        logits = self.out(self.words(input_ids) * attention_mask.unsqueeze(-1))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return Out(loss=loss, logits=logits)


def ids(batch):
    words = torch.randint(30, (batch, 12))
    return {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": words}


def language(batch: int = 8):
    """As a person would first write it: the batch as it is, the loss from the output."""
    return Language(), (ids(batch), None), lambda out, _: out.loss


def no_targets(batch: int = 8):
    """And as second: only the batch."""
    return Language(), ids(batch), lambda out: out.loss


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Language()

    def forward(self, batch):
        return self.inner(**batch)


def wrapped(batch: int = 8):
    """Thirdly, with a wrapper, after reading docs/own-models.md."""
    return Wrapped(), (ids(batch), None), lambda out, _: out.loss


def tuple_out(batch: int = 8):
    class Gru(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(6, 5, batch_first=True)

        def forward(self, x):
            return self.gru(x)

    return Gru(), (torch.randn(batch, 7, 6), torch.randn(batch, 7, 5)), lambda out, wanted: (out[0] - wanted).square().mean()


def seq_first(batch: int = 8):
    """PyTorch's own default for recurrent layers: time comes first."""
    class Rnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.LSTM(6, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.out(self.rnn(x)[0][-1])

    return Rnn(), (torch.randn(35, batch, 6), torch.randint(3, (batch,)))


class Pair(nn.Module):
    """A loss of torch as a class; the module returns a tuple."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 5)

    def forward(self, left, right=None):
        return self.layer(left if right is None else left + right), right


def loss_class(batch: int = 8):
    return Pair(), (torch.randn(batch, 6), torch.randn(batch, 5)), nn.MSELoss


def two_of_three(batch: int = 8):
    """As a tuple of three: which of them are the inputs?"""
    return Pair(), (torch.randn(batch, 6), torch.randn(batch, 6), torch.randn(batch, 5)), nn.MSELoss()


def defines_its_batch():
    return Pair(), (torch.randn(5, 6), torch.randn(5, 5)), nn.MSELoss()


def optimizer_instance(batch: int = 8):
    module = Pair()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    return module, (torch.randn(batch, 6), torch.randn(batch, 5)), nn.MSELoss(), optimizer, scheduler


def optimizer_class(batch: int = 8):
    return Pair(), (torch.randn(batch, 6), torch.randn(batch, 5)), nn.MSELoss(), torch.optim.Adagrad


def optimizer_factory(batch: int = 8):
    return (
        Pair(),
        (torch.randn(batch, 6), torch.randn(batch, 5)),
        {"loss": nn.MSELoss(), "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1.0), "clip": 0.001},
    )


def own_step(batch: int = 8):
    module = Pair()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)

    def step(batch):
        inputs, targets = batch
        optimizer.zero_grad()
        loss = (module(inputs)[0] - targets).abs().mean()
        loss.backward()
        optimizer.step()
        return loss

    return module, (torch.randn(batch, 6), torch.randn(batch, 5)), step


def token_ids(batch: int = 8):
    return Language(), ids(batch), {"unit": "tokens"}


def unknown_option(batch: int = 8):
    return Language(), ids(batch), {"units": "tokens"}


def flattened_targets(batch: int = 8):
    """The targets of a language model, as one long row."""
    words = torch.randint(30, (batch, 12))
    model = nn.Sequential(nn.Embedding(30, 16), nn.Linear(16, 30), nn.Flatten(0, 1))
    return model, (words, words.flatten())


def states_its_items(batch: int = 8):
    return Pair(), (torch.randn(batch, 6), torch.randn(batch, 5)), nn.MSELoss(), {"items": 3 * batch, "unit": "frames"}


class Packed(nn.Module):
    """Sequences one after the other, with where they begin: no dimension is the batch's."""

    def __init__(self):
        super().__init__()
        self.layer = nn.EmbeddingBag(30, 5)

    def forward(self, words, starts):
        return self.layer(words, starts).mean()


def packed(batch: int = 8):
    return Packed(), {"words": torch.randint(30, (3 * batch,)), "starts": torch.arange(0, 3 * batch, 3)}
