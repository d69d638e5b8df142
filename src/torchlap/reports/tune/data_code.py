"""The code of batches: random images and tokens on the device, or through a DataLoader as torchlap's own."""

from collections.abc import Sequence

from torchlap.schema.recipe import Recipe

IMAGES = """\
def next_batch():  # your data instead
    images = torch.randn({shape}, device=device){layout}
    return images, torch.randint(10, ({batch},), device=device)"""

DIGITS = """\
from itertools import cycle
digits = torch.randint(256, ({count}, 1, 28, 28), dtype=torch.uint8, device=device)  # your data instead
labels = torch.randint(10, ({count},), device=device)
starts = cycle(range(0, {last}, {batch}))

def next_batch():
    start = next(starts)
    rows = slice(start, start + {batch})
    images = nn.functional.interpolate(digits[rows].float(), size=({size}, {size}), mode="bilinear")
    images.sub_(0.1307 * 255).div_(0.3081 * 255)
    return images.expand(-1, 3, -1, -1).contiguous({layout}), labels[rows]"""

TOKENS = """\
def next_batch():  # your data instead
    ids = torch.randint(configuration.vocab_size, ({batch}, {seq}), device=device)
    return ids, {labels}"""

LOADER = """\
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
class Pictures(Dataset):  # your data instead
    transform = transforms.Compose([
        transforms.ToPILImage(), transforms.Grayscale(3), transforms.Resize(({size}, {size})), transforms.ToTensor(),
        transforms.Normalize((0.1307,) * 3, (0.3081,) * 3),
    ])

    def __len__(self):
        return {count}

    def __getitem__(self, number):
        return self.transform(torch.randint(256, (1, 28, 28), dtype=torch.uint8)), number % 10

loader = DataLoader(Pictures(), batch_size={batch}, shuffle=True, drop_last=True{arguments})
{endless}

def next_batch():
    images, labels = next(endless)
    return images.to(device{copy}{layout}), labels.to(device{copy})"""

ENDLESS = """\
def epochs(loader):
    while True:
        yield from loader

endless = epochs(loader)"""

DIGIT_COUNT = 1000
"""As many as are bundled with torchlap."""

PINNED = ("cuda", "xpu")


def images(shape: Sequence[int | str], *, channels_last: bool) -> str:
    """Random images of this shape, with labels."""
    layout = ".contiguous(memory_format=torch.channels_last)" if channels_last else ""
    return IMAGES.format(shape=", ".join(map(str, shape)), batch=shape[0], layout=layout)


def digits(batch: int, size: int, *, channels_last: bool) -> str:
    """Small images that stay on the device and are enlarged there at each step, as torchlap's own."""
    count = -(-batch // DIGIT_COUNT) * DIGIT_COUNT
    layout = "memory_format=torch.channels_last" if channels_last else ""
    return DIGITS.format(count=count, last=count - batch + 1, batch=batch, size=size, layout=layout)


def tokens(batch: int, seq: int, *, is_causal: bool) -> str:
    """Random tokens, with labels."""
    labels = "ids" if is_causal else f"torch.randint(10, ({batch},), device=device)"
    return TOKENS.format(batch=batch, seq=seq, labels=labels)


def loader(batch: int, size: int, recipe: Recipe, kind: str, *, channels_last: bool) -> str:
    """A DataLoader of small images that are enlarged on the host, as torchlap's own."""
    is_pinned = kind in PINNED
    return LOADER.format(
        size=size,
        count=max(DIGIT_COUNT, batch),
        batch=batch,
        arguments=arguments(recipe.workers or 0, recipe.prefetch, pinned=is_pinned, persistent=True),
        endless=ENDLESS,
        copy=", non_blocking=True" if is_pinned else "",
        layout=", memory_format=torch.channels_last" if channels_last else "",
    )


def arguments(workers: int | None, prefetch: int | None, *, pinned: bool, persistent: bool) -> str:
    """Of a DataLoader, as a recipe says; without a number of workers, it has as many as the loader `data`."""
    has_workers = workers is None or workers > 0
    words = {
        "num_workers": "data.num_workers" if workers is None else str(workers),
        "pin_memory": "True" if pinned else "",
        "persistent_workers": "True" if persistent and has_workers else "",
        "prefetch_factor": str(prefetch) if prefetch and has_workers else "",
        "multiprocessing_context": "'fork'" if workers else "",
    }
    return "".join(f", {word}={value}" for word, value in words.items() if value)
