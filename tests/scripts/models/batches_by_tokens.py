# Source: https://github.com/awslabs/sockeye/issues/1073 and https://github.com/meta-pytorch/torchtune/issues/2296 (throughput of
# batches that are filled by tokens: 25 long sentences or 1000 short ones), deepspeedai/Megatron-DeepSpeed#444
# Fault: a batch_sampler gives batches of about as many tokens, so of 2 to 32 rows; samples a second are counted as if each
# batch had --batch rows. And a dictionary of 4 rows measured with --batch 64.
# Right answer: count the rows that the batches have (here 3.3 on average), or refuse: "batches of 2 to 32 rows, not 64".
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Sentences(Dataset):
    def __len__(self):
        return 4096

    def __getitem__(self, number):
        return torch.full((4 + number % 61,), number % 50), number % 5


class ByTokens:
    """Neighbours in length together, as many as 128 tokens hold."""

    def __iter__(self):
        rows = []
        for number in sorted(range(4096), key=lambda n: n % 61):
            if rows and (len(rows) + 1) * (4 + number % 61) > 128:
                yield rows
                rows = []
            rows.append(number)
        yield rows


def pad(rows):
    words = nn.utils.rnn.pad_sequence([words for words, _ in rows], batch_first=True)
    return words, torch.tensor([label for _, label in rows])


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(50, 32), nn.Linear(32, 5)

    def forward(self, words):
        time.sleep(0.01)  # so that a step is of known length: 100 steps a second
        return self.out(self.words(words).mean(1))


def by_tokens(batch: int = 64):
    return Bag(), DataLoader(Sentences(), batch_sampler=ByTokens(), collate_fn=pad)


def by_three(batch: int = 3):
    """Batches of equal sizes."""
    return Bag(), DataLoader(Sentences(), batch_size=batch, collate_fn=pad)


class Named(Bag):
    def forward(self, batch):
        return super().forward(batch["words"])


def dictionary_of_four():
    """No parameter named batch: it makes 4 rows, whatever --batch says."""
    return Named(), ({"words": torch.randint(50, (4, 9))}, torch.randint(5, (4,)))


def list_of_four(batch: int = 64):
    """Images of unlike sizes, as torchvision's detection models take them: a list."""
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = nn.Conv2d(3, 5, 3)

        def forward(self, images):
            time.sleep(0.01)
            return torch.stack([self.cnn(image).mean((1, 2)) for image in images])

    return Many(), ([torch.rand(3, 20 + n, 16) for n in range(4)], torch.randint(5, (4,)))


if __name__ == "__main__":
    sizes = [len(labels) for _, labels in by_tokens()[1]]
    print(len(sizes), "batches of", min(sizes), "to", max(sizes), "rows,", sum(sizes) / len(sizes), "on average")
