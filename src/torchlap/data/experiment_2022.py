"""The experiment of 2022, re-created from its write-up ("Pytorch in M1", June 2022), its flaws included.

    python experiment_2022.py --devices cpu,mps

It trains torchvision's models for one epoch on 1,000 MNIST digits, first on one device, then on the next, and prints how
much faster that was. `torchlap audit` runs it and says what is wrong with it. Unlike the original it starts from random
weights (nothing is downloaded), reads the digits from beside this file, and takes fewer of them on the CPU
(`--cpu-images`, but two batches at least). `--repairs` mends one flaw after another, which is what `torchlap audit` shows
as a ladder; `--results` writes the figures down.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

options = argparse.ArgumentParser()
options.add_argument("--devices", default="cpu")
options.add_argument("--models", default="vgg16,alexnet,resnet18,mobilenet_v2,efficientnet_b0,squeezenet1_0")
options.add_argument("--batches", default="4,64")
options.add_argument("--images", type=int, default=1000)
options.add_argument("--cpu-images", type=int, default=1000)
options.add_argument("--size", type=int, default=224)
options.add_argument("--repairs", default="")
options.add_argument("--results", type=Path)
options = options.parse_args()
repairs = options.repairs.split(",")

WARM_UP_STEPS = 5
if "float32" in repairs:
    torch.backends.cudnn.allow_tf32 = False


class Digits(Dataset):
    def __init__(self, count):
        folder = Path(__file__).parent / "mnist-1k"
        images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())
        self.images = np.frombuffer(images, dtype=np.uint8)[16:].reshape(-1, 28, 28)[:count]
        self.labels = np.frombuffer(labels, dtype=np.uint8)[8:][:count]
        self.transform = transforms.Compose(
            [transforms.Resize(options.size), transforms.Grayscale(num_output_channels=3), transforms.ToTensor()]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def with_ten_classes(name):
    model = models.get_model(name, weights=None)
    if name == "resnet18":
        model.fc = nn.Linear(model.fc.in_features, 10)
    elif name == "squeezenet1_0":
        model.classifier[1] = nn.Linear(512, 10)
    else:
        model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, 10)
    return model


def wait(device):
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def batches(count, batch, device):
    loader = DataLoader(
        Digits(count),
        batch_size=batch,
        shuffle=True,
        num_workers=4,
        persistent_workers="warm-up" in repairs,
        drop_last="data" in repairs,
    )
    if "data" in repairs:
        return [(images.to(device), labels.to(device)) for images, labels in loader]
    return loader


def train(model, optimizer, criterion, loader, device, most=None):
    for step, (images, labels) in enumerate(loader):
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = model(images)
        if "loss" in repairs:
            loss = criterion(outputs, labels)
        else:
            loss = criterion(outputs[:, 0], labels.float())
        loss.backward()
        optimizer.step()
        if most and step + 1 >= most:
            return


def seconds_an_epoch(name, batch, device):
    torch.manual_seed(1)
    count = options.cpu_images if device == "cpu" else options.images
    count = max(count, 2 * batch)
    model = with_ten_classes(name).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    loader = batches(count, batch, device)
    model.train()
    if "warm-up" in repairs:
        train(model, optimizer, criterion, loader, device, WARM_UP_STEPS)
    if "wait" in repairs:
        wait(device)
    epochs = []
    for _ in range(1):
        start = time.time()
        train(model, optimizer, criterion, loader, device)
        if "wait" in repairs:
            wait(device)
        epochs.append(time.time() - start)
    return sum(epochs) / len(epochs) * 1000 / count


if __name__ == "__main__":
    seconds = {}
    for device in options.devices.split(","):
        for batch in map(int, options.batches.split(",")):
            for name in options.models.split(","):
                try:
                    seconds[name, batch, device] = seconds_an_epoch(name, batch, device)
                except RuntimeError as error:
                    print(f"{name} had to be left out: {error}", flush=True)
                    continue
                print(f"{name}, batch {batch}, {device}: {seconds[name, batch, device]} seconds an epoch", flush=True)
    first, *others = options.devices.split(",")
    for name, batch, device in seconds:
        if device in others:
            speed_up = seconds[name, batch, first] / seconds[name, batch, device]
            print(f"{name}, batch {batch}: speed up {speed_up * 100:.2f}%")
    if options.results:
        lines = [json.dumps([*key, float(value)]) for key, value in seconds.items()]
        options.results.write_text("\n".join(lines) + "\n")
