"""Straightforward loops over Python sets, written apart from the package: what methods in training have to give."""

import math

import torch
from torch import nn


def network(seed=0):
    """A small network with two hidden layers, and its prunable parameters by name."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3))


def batches(steps, seed=0, size=16):
    """So many batches of a task that does not depend on the step."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(size, 6, generator=generator)
        yield x, (x[:, :3] - x[:, 3:]).argmax(1)


def train(net, optimizer, steps, behind=lambda step: None, seed=0):
    """An ordinary loop; ``behind`` is called behind each step, with gradients still there."""
    for step, (x, y) in enumerate(batches(steps, seed), start=1):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        behind(step)


OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adam": lambda params: torch.optim.Adam(params, lr=1e-2, weight_decay=1e-3),
    "adamw": lambda params: torch.optim.AdamW(params, lr=1e-2, weight_decay=1e-2),
    "fused": lambda params: torch.optim.Adam(params, lr=1e-2, fused=True),
}


def cubic(step, first, last, start, stop):
    """Density at a step."""
    if step <= start:
        return first
    if step >= stop:
        return last
    return last + (first - last) * (1 - (step - start) / (stop - start)) ** 3


class ByHand:
    """Masks as sets of (layer, position), changed by a function behind some steps.

    ``decide(step, kept, size, grad)`` gets the set and two dictionaries over all entries, and returns the next set.
    """

    def __init__(self, net, optimizer, decide, due, kept):
        self.layers = [module.weight for module in net if isinstance(module, nn.Linear)]
        self.optimizer, self.decide, self.due, self.kept = optimizer, decide, due, kept
        self.zero()

    def entries(self):
        return [(layer, place) for layer, weight in enumerate(self.layers) for place in range(weight.numel())]

    def zero(self, fresh=()):
        for layer, weight in enumerate(self.layers):
            gone = torch.tensor([(layer, place) not in self.kept for place in range(weight.numel())])
            reset = torch.tensor([(layer, place) in fresh for place in range(weight.numel())])
            with torch.no_grad():
                weight[gone.view_as(weight)] = 0.0
                for value in self.optimizer.state.get(weight, {}).values():
                    if torch.is_tensor(value) and value.shape == weight.shape:
                        value[reset.view_as(weight)] = 0.0

    def behind(self, step):
        self.zero()
        if self.due(step):
            size = {(n, p): abs(w.flatten()[p].item()) for n, w in enumerate(self.layers) for p in range(w.numel())}
            grad = {
                (n, p): abs(w.grad.flatten()[p].item()) for n, w in enumerate(self.layers) for p in range(w.numel())
            }
            before, self.kept = self.kept, self.decide(step, self.kept, size, grad)
            everything = set(self.entries())
            self.zero(fresh=(everything - self.kept) | (everything - before))

    def masks(self):
        return [
            torch.tensor([(layer, place) in self.kept for place in range(weight.numel())]).view_as(weight)
            for layer, weight in enumerate(self.layers)
        ]


def top(entries, score, count):
    """The entries of highest score; among equal ones the earlier."""
    return set(sorted(entries, key=lambda entry: (-score[entry], entry))[:count])


def fall(first, step, steps, last=0.005):
    """Half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2
