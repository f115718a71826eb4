"""The seed job as a plain PyTorch loop: torchvision's MNIST, ToTensor, a DataLoader with 2 workers, one optimizer.

It is the trainer's model as people write it: the same layers and parameters, in torch's default layout, float32.
Prints what it took as JSON. Imports nothing of sweepkit.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms


class Net(nn.Module):
    """Two convolutions and two linear layers, on images from 0 to 1."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.MaxPool2d(2),
            nn.Conv2d(width, width, 5, padding=2),
            nn.MaxPool2d(2),
            nn.Dropout2d(dropout),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers((images - 0.1307) / 0.3081)  # here it costs less than transforms.Normalize in the workers


def main(data_root: str, seed: int, epochs: int, fraction: float, batch_size: int, width: int, lr: float) -> None:
    began = time.perf_counter()
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = datasets.MNIST(data_root, train=True, transform=transforms.ToTensor())
    val = datasets.MNIST(data_root, train=False, transform=transforms.ToTensor())
    part = Subset(train, torch.randperm(len(train))[: round(len(train) * fraction)].tolist())
    pin = device.type == "cuda"
    train_batches = DataLoader(part, batch_size, shuffle=True, num_workers=2, pin_memory=pin)
    val_batches = DataLoader(val, batch_size, num_workers=2, pin_memory=pin)
    model = Net(width, 0.1).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    training, rest, accuracy = [], [], []
    for _ in range(epochs):
        start = time.perf_counter()
        model.train()
        total = 0.0
        for images, labels in train_batches:
            images, labels = images.to(device, non_blocking=pin), labels.to(device, non_blocking=pin)
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(images)
        middle = time.perf_counter()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in val_batches:
                images, labels = images.to(device, non_blocking=pin), labels.to(device, non_blocking=pin)
                right += (model(images).argmax(1) == labels).sum().item()
        training.append(middle - start)
        rest.append(time.perf_counter() - middle)
        accuracy.append(right / len(val))
    told = {"images": len(part), "training": training, "rest": rest, "accuracy": accuracy}
    print(json.dumps({**told, "seconds": time.perf_counter() - began, "device": device.type}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
