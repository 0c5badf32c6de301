"""Two gloo processes on one machine, started by test_ranks.py: `python ranks.py INIT_FILE`."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from graphprune.masks import MaskSet, check_ranks, random, saliency

RANKS = 2


def work(rank: int, init_file: str) -> None:
    """Train, score by synchronised gradients and tighten: the ranks agree. Then one goes its own way."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=Path(init_file).as_uri(), rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    parallel = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(rank)  # different data
    masks = MaskSet.dense(net)
    with masks.attach(net, optimizer) as handle:
        for step in range(1, 4):
            optimizer.zero_grad()
            parallel(torch.randn(16, 6, generator=generator)).square().mean().backward()
            optimizer.step()
            params = dict(net.named_parameters())
            grads = {name: p.grad for name, p in params.items() if p.grad is not None}
            handle.update(handle.masks.tighten(saliency(params, grads, handle.masks), 0.7**step))
            handle.masks.verify(net)
        agreed, weights = handle.masks, net[0].weight.detach().clone()
        own = masks.tighten(random(rank)({}, {}, masks), 0.2)
        for disagree in (lambda: handle.update(own), lambda: check_ranks(own)):
            try:
                disagree()
            except RuntimeError as error:
                if "ranks [1] differ" not in str(error):
                    raise
            else:
                raise AssertionError("different masks went unnoticed")
        if handle.masks != agreed or not torch.equal(net[0].weight, weights):
            raise AssertionError("a refused update left traces")
    dist.barrier()
    dist.destroy_process_group()
    # The wrapper's reference cycles keep gloo's threads alive, which has aborted an interpreter that was shutting down.
    os._exit(0)


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, args=(sys.argv[1],), nprocs=RANKS)
    print("agreed")
