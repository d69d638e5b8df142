"""`digits_cnn`: torchlap's own small network, which learns the bundled digits in seconds."""

from torch import nn

NAME = "digits_cnn"
IMAGE_SIZE, CHANNELS, CLASSES = 28, 3, 10
WIDTHS = (16, 32, 64)
LAST_SIDE = 3
"""Of 28 pixels, halved three times."""

DROPOUT = 0.3


def build() -> nn.Sequential:
    """Three convolutions with batch normalization, the first of them strided, then one linear layer.

    Takes N x 3 x 28 x 28, returns N x 10.
    """
    first, second, third = WIDTHS
    return nn.Sequential(
        *_convolution(CHANNELS, first, 5, stride=2),
        *_convolution(first, second, 3),
        nn.MaxPool2d(2),
        *_convolution(second, third, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(DROPOUT),
        nn.Linear(third * LAST_SIDE**2, CLASSES),
    )


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return layer, nn.BatchNorm2d(outputs), nn.ReLU()
