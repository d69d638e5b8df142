"""`digits_cnn`: torchlap's own small network, which learns the bundled digits in seconds."""

from torch import nn

NAME = "digits_cnn"
IMAGE_SIZE, CHANNELS, CLASSES = 28, 3, 10
WIDTHS = (16, 32, 64)
LAST_SIDE = 3
"""Of 28 pixels, halved three times."""

DROPOUT = 0.3


def build() -> nn.Sequential:
    """Three convolutions with batch normalization and pooling, then one linear layer: 29,466 parameters.

    Takes N x 3 x 28 x 28, returns N x 10.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in zip((CHANNELS, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    head = nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(WIDTHS[-1] * LAST_SIDE**2, CLASSES)
    return nn.Sequential(*layers, *head)
