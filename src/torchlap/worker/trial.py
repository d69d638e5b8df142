"""The live probe of a device: allocate, multiply, train, copy back; then every operator of the suites' models.

Nothing here is timed for a figure. Wrong results and missing operators are returned; a device that refuses or fails
raises, and the last progress message names the stage.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.squeezenet import Fire
from torchvision.ops import SqueezeExcitation, StochasticDepth

from torchlap.schema.machine import Trial
from torchlap.worker import devices
from torchlap.worker.errors import first_line

SIZE = 64
STEPS = 3
LEARNING_RATE = 1e-2
TOLERANCE = 0.05
"""Of the losses, relative to the CPU's: a convolution in TF32 differs by a thousandth. `verify` checks more closely."""

LONGEST_REASON = 200
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
    "Dropout in place on a view": (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.2, inplace=True)), (2, 4, 4, 4)),
    "Linear": (lambda: nn.Linear(16, 8), (2, 16)),
    "Flatten": (nn.Flatten, (2, 4, 4, 4)),
    "a residual": (lambda: Residual(4), (2, 4, 8, 8)),
}
"""Each kind of layer in the suites' six models: how to make it, and the shape of its input. A test checks that these
layers run every operator of a training step of the models."""


class Residual(nn.Module):
    """A block whose input is added to its output, as in ResNet and MobileNet."""

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


def try_out(name: str, report: Callable[[str], None]) -> Trial:
    """Test a device; `report` is called with each stage before it begins.

    Raises:
        RefusedError: when torch does not have the device, or no longer.
        RuntimeError: or any other error that the device raises.
    """
    begun = time.perf_counter()
    device = devices.select(name)
    synchronize = devices.synchronizer(device)
    wrong = [_multiply(device, synchronize, report), _train(device, synchronize, report)]
    report("trying the layers of the six models")
    with devices.recorded_warnings() as recorded:
        missing = [_missing_operator(kind, device) for kind in LAYERS]
        synchronize()
    report("trying mixed precision")
    without_effect = tuple(filter(None, (_ignored(dtype, device) for dtype in (torch.bfloat16, torch.float16))))
    return Trial(
        device=name,
        seconds=time.perf_counter() - begun,
        wrong="; ".join(filter(None, wrong)),
        missing=tuple(dict.fromkeys(filter(None, missing))),
        fallbacks=devices.fallbacks(recorded),
        without_effect=without_effect,
    )


def _multiply(device: torch.device, synchronize: Callable[[], None], report: Callable[[str], None]) -> str:
    """Multiply small whole numbers, which every precision represents exactly; how the product is wrong, or empty."""
    report("allocating memory")
    left = (torch.arange(SIZE * SIZE) % 7).reshape(SIZE, SIZE).float()
    on_device = left.to(device)
    synchronize()
    report("multiplying")
    product = on_device @ on_device.t()
    synchronize()
    report("copying back")
    wrong = int((product.cpu() != left @ left.t()).sum())
    return f"{wrong} of {SIZE * SIZE} elements of a product of whole numbers are wrong" if wrong else ""


def small_network() -> nn.Module:
    """Convolution, normalization, pooling, and a linear head for ten classes; input: (batch, 1, 8, 8)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    )


def _train(device: torch.device, synchronize: Callable[[], None], report: Callable[[str], None]) -> str:
    """Train the small network on the device and on the CPU; how the losses differ, or empty."""
    report("training a small network")
    losses = train(small_network(), device)
    synchronize()
    expected = train(small_network(), torch.device("cpu"))
    if all(abs(loss - right) <= TOLERANCE * abs(right) for loss, right in zip(losses, expected, strict=True)):
        return ""
    return f"the first {STEPS} losses of a small network are {_digits(losses)}, but {_digits(expected)} on the CPU"


def _digits(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def train(network: nn.Module, device: torch.device) -> list[float]:
    """The losses of a few steps of Adam on one fixed batch."""
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
    """Run one forward and backward pass of a kind of layer."""
    make, shape = LAYERS[kind]
    layer = make().to(device)
    images = torch.rand(shape).to(device).requires_grad_()
    loss: Tensor = layer(images * 1.0).mean()  # multiplied, because an in-place activation does not accept a leaf
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own


def _missing_operator(kind: str, device: torch.device) -> str:
    """The device's message when it does not implement an operator of the layer; empty if it implements all."""
    try:
        step(kind, device)
    except NotImplementedError as error:
        return f"{kind}: {first_line(error, LONGEST_REASON)}"
    return ""


def _ignored(dtype: torch.dtype, device: torch.device) -> str:
    """The call of autocast, if torch accepts it and multiplies in another precision all the same; otherwise empty."""
    ones = torch.ones(2, 2, device=device)
    try:
        with devices.recorded_warnings(), torch.autocast(device.type, dtype=dtype):
            found = (ones @ ones).dtype
    except (RuntimeError, AssertionError, NotImplementedError):
        return ""  # refused, so no script can miss it
    return "" if found == dtype else f"torch.autocast({device.type!r}, {dtype}) computes in {found}"
