"""The live probe of one device: allocate, multiply, train, copy back; and every operator that the six models need.

Nothing here is timed for a figure. What the device gets wrong is told; what it refuses raises, and the judge knows the
stage by the last sign of life.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.squeezenet import Fire
from torchvision.ops import SqueezeExcitation, StochasticDepth

from torchlap.schema.messages import Tried
from torchlap.worker import devices

SIZE = 64
STEPS = 3
LEARNING_RATE = 1e-2
TOLERANCE = 0.05
"""Of the losses, relative to the CPU's: a convolution in TF32 differs by a thousandth. `verify` looks closely."""

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv2d": (lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1), (2, 4, 16, 16)),
    "Conv2d without bias": (lambda: nn.Conv2d(4, 8, 1, bias=False), (2, 4, 8, 8)),
    "depthwise Conv2d": (lambda: nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False), (2, 4, 8, 8)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), (2, 4, 8, 8)),
    "ReLU": (lambda: nn.ReLU(inplace=True), (2, 4, 8, 8)),
    "ReLU6": (lambda: nn.ReLU6(inplace=True), (2, 4, 8, 8)),
    "SiLU": (lambda: nn.SiLU(inplace=True), (2, 4, 8, 8)),
    "SqueezeExcitation": (lambda: SqueezeExcitation(4, 2, partial(nn.SiLU, inplace=True)), (2, 4, 8, 8)),
    "StochasticDepth": (lambda: StochasticDepth(0.2, "row"), (2, 4, 8, 8)),
    "Fire": (lambda: Fire(4, 2, 4, 4), (2, 4, 8, 8)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2), (2, 4, 13, 13)),
    "MaxPool2d, ceil_mode": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), (2, 4, 12, 12)),
    "AdaptiveAvgPool2d to 1x1": (lambda: nn.AdaptiveAvgPool2d((1, 1)), (2, 4, 8, 8)),
    "AdaptiveAvgPool2d to 7x7": (lambda: nn.AdaptiveAvgPool2d((7, 7)), (2, 4, 7, 7)),
    "Dropout": (nn.Dropout, (2, 64)),
    "Dropout in place of a view": (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.2, inplace=True)), (2, 4, 4, 4)),
    "Linear": (lambda: nn.Linear(16, 8), (2, 16)),
    "Flatten": (nn.Flatten, (2, 4, 4, 4)),
    "a residual": (lambda: Residual(4), (2, 4, 8, 8)),
}
"""The kinds of layers that the suites' six models consist of; a test holds their operators to those of the models."""


class Residual(nn.Module):
    """What ResNet and MobileNet add up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels))
        self.outer = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Shape in and out: (batch, channels, height, width)."""
        inner: Tensor = self.inner(images)
        inner += images
        out: Tensor = self.outer(inner)
        return out


def try_out(name: str, say: Callable[[str], None]) -> Tried:
    """Use the device a little; each stage is said before it begins.

    Raises:
        RefusedError: when torch does not have the device (any more).
        RuntimeError: or whatever else the device answers with.
    """
    begun = time.perf_counter()
    device = devices.select(name)
    synchronize = devices.synchronizer(device)
    wrong = [_multiply(device, synchronize, say), _train(device, synchronize, say)]
    say("trying the layers of the six models")
    with devices.heard() as heard:
        missing = [_missing(kind, device) for kind in LAYERS]
        synchronize()
    return Tried(
        seconds=time.perf_counter() - begun,
        wrong="; ".join(each for each in wrong if each),
        missing=tuple(dict.fromkeys(each for each in missing if each)),
        fallbacks=devices.fallbacks(heard),
    )


def _multiply(device: torch.device, synchronize: Callable[[], None], say: Callable[[str], None]) -> str:
    """Multiply small whole numbers, which every precision holds; what is wrong with the product, in words."""
    say("allocating memory")
    left = (torch.arange(SIZE * SIZE) % 7).reshape(SIZE, SIZE).float()
    there = left.to(device)
    synchronize()
    say("multiplying")
    product = there @ there.t()
    synchronize()
    say("copying back")
    differs = int((product.cpu() != left @ left.t()).sum())
    return f"{differs} of {SIZE * SIZE} elements of a product of whole numbers are wrong" if differs else ""


def small_network() -> nn.Module:
    """Convolution, normalisation, pooling, a linear head for ten classes; input: (batch, 1, 8, 8)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    )


def _train(device: torch.device, synchronize: Callable[[], None], say: Callable[[str], None]) -> str:
    """Train the small network beside the same one on the CPU; what is wrong with its losses, in words."""
    say("training a small network")
    losses = train(small_network(), device)
    synchronize()
    expected = train(small_network(), torch.device("cpu"))
    if all(abs(loss - right) <= TOLERANCE * abs(right) for loss, right in zip(losses, expected, strict=True)):
        return ""
    return f"{STEPS} losses of a small network are {_digits(losses)}, on the CPU {_digits(expected)}"


def _digits(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def train(network: nn.Module, device: torch.device) -> list[float]:
    """The losses of some steps of Adam on one fixed batch."""
    torch.manual_seed(1)
    images, labels = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
    network.to(device)
    images, labels = images.to(device), labels.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        losses.append(loss)
    return [float(loss.item()) for loss in losses]


def step(kind: str, device: torch.device) -> None:
    """One forward and backward pass of a kind of layer."""
    make, shape = LAYERS[kind]
    layer = make().to(device)
    images = torch.rand(shape).to(device).requires_grad_()
    loss: Tensor = layer(images * 1.0).mean()  # the product, for an activation in place takes no leaf
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own


def _missing(kind: str, device: torch.device) -> str:
    """What a device that has not got a layer's operators says of it."""
    try:
        step(kind, device)
    except NotImplementedError as error:
        return f"{kind}: {str(error).splitlines()[0][:200]}"
    return ""
