#!/usr/bin/env python3
"""One training step of Facet's small network in PyTorch, as the bench's peer.

The network, the batch (triplets of each task, task after task), the loss and the optimiser are those of
the bench's Go part; images and labels are random, since only time is measured. Written as one writes it
in PyTorch: channels-last if that is faster, one modulation as a product with ReLU of a row of scales a
task. Prints one JSON line: images a second of the better memory format.
"""
import argparse, json, time

import torch
import torch.nn as nn
import torch.nn.functional as F


class ConvReLU(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class Block(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.first, self.pool = ConvReLU(i, o), nn.MaxPool2d(2)
        self.rest = nn.Sequential(ConvReLU(o, o), ConvReLU(o, o))

    def forward(self, x):
        x = self.pool(self.first(x))
        return x + self.rest(x)


class Scale(nn.Module):
    def __init__(self, tasks, channels):
        super().__init__()
        self.s = nn.Parameter(torch.ones(tasks, channels))

    def forward(self, x):
        t, c = self.s.shape
        s = F.relu(self.s).view(t, 1, c, *[1] * (x.dim() - 2))
        return (x.view(t, -1, *x.shape[1:]) * s).view_as(x)


class Small(nn.Module):
    def __init__(self, tasks, side, dim=128):
        super().__init__()
        self.trunk = nn.Sequential(ConvReLU(3, 32), Block(32, 64), Block(64, 96), Block(96, 128), Scale(tasks, 128))
        self.tail = nn.Sequential(Block(128, 128), Scale(tasks, 128), nn.Flatten())
        self.embedding = nn.Linear(128 * (side // 16) ** 2, dim, bias=False)
        self.last = Scale(tasks, dim)

    def forward(self, x):
        return F.normalize(self.last(self.embedding(self.tail(self.trunk(x)))))


def measure(a, memory):
    torch.manual_seed(1)
    net = Small(a.tasks, a.side).to(memory_format=memory)
    optimizer = torch.optim.Adagrad(net.parameters(), lr=0.01)
    images = torch.randn(a.tasks * a.rows, 3, a.side, a.side).contiguous(memory_format=memory)
    times = []
    for _ in range(a.steps + 2):
        begun = time.process_time()
        optimizer.zero_grad()
        anchor, positive, negative = net(images).view(-1, 3, 128).unbind(1)
        near, far = (anchor - positive).pow(2).sum(1), (anchor - negative).pow(2).sum(1)
        F.relu(near - far + 0.2).mean().backward()
        optimizer.step()
        times.append(time.process_time() - begun)
    return len(images) / sorted(times[2:])[a.steps // 2]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tasks", type=int, default=4)
    p.add_argument("--rows", type=int, default=24, help="images of each task")
    p.add_argument("--side", type=int, default=64)
    p.add_argument("--steps", type=int, default=10)
    a = p.parse_args()
    torch.set_num_threads(1)
    rates = [measure(a, m) for m in (torch.contiguous_format, torch.channels_last)]
    print(json.dumps({"images_per_second": max(rates), "torch": torch.__version__, "parameters": sum(p.numel() for p in Small(a.tasks, a.side).parameters())}))


if __name__ == "__main__":
    main()
