"""The six default models from the same blocks, but small: a check of one takes a fraction of a second."""

from collections.abc import Callable
from functools import partial

from right import Built, images
from torch import nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.resnet import BasicBlock
from torchvision.models.squeezenet import Fire
from torchvision.models.vgg import make_layers


def _with_images(module: nn.Module, batch: int) -> Built:
    return module, images(batch)


def squeezenet(batch: int) -> Built:
    layers = nn.Conv2d(3, 8, 3, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 8, 8)
    head = nn.Dropout(0.5), nn.Conv2d(16, 10, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return _with_images(nn.Sequential(*layers, *head), batch)


def resnet(batch: int) -> Built:
    smaller = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
    layers = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    head = BasicBlock(8, 16, 2, smaller), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    return _with_images(nn.Sequential(*layers, *head), batch)


def mobilenet(batch: int) -> Built:
    blocks = [[1, 8, 1, 1], [6, 8, 1, 2]]
    module = MobileNetV2(num_classes=10, inverted_residual_setting=blocks, round_nearest=4)
    module.features[-1] = nn.Conv2d(8, module.last_channel, 1)
    return _with_images(module, batch)


def efficientnet(batch: int) -> Built:
    block = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
    settings = [block(4, 3, 2, 8, 8, 1)]
    return _with_images(EfficientNet(settings, 0.2, stochastic_depth_prob=0.2, num_classes=10, last_channel=32), batch)


def alexnet(batch: int) -> Built:
    layers = nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.Conv2d(8, 12, 5, padding=2)
    pooled = nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(108, 32)
    return _with_images(nn.Sequential(*layers, *pooled, nn.ReLU(inplace=True), nn.Linear(32, 10)), batch)


def vgg(batch: int) -> Built:
    head = nn.Linear(108, 32), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(32, 10)
    pooled = make_layers([8, "M", 12, "M"]), nn.AdaptiveAvgPool2d(3), nn.Flatten()
    return _with_images(nn.Sequential(*pooled, *head), batch)


MODELS: dict[str, Callable[[int], Built]] = {
    "squeezenet": squeezenet,
    "resnet": resnet,
    "mobilenet": mobilenet,
    "efficientnet": efficientnet,
    "alexnet": alexnet,
    "vgg": vgg,
}
"""By name."""
