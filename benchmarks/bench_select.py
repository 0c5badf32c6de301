"""`keep_top` on 10 million scores in 10,000 ragged segments beside one `torch.sort` of the same scores.

python benchmarks/bench_select.py --json benchmarks/results/select.json
"""

from __future__ import annotations

import torch
from common import parser, report, take_turns
from torch import Tensor

from graphprune.masks import keep_top


def problem(scores: int, segments: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normal scores in log-normally ragged segments (a few of them empty), and how many to keep of each."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.randn(segments, generator=generator, dtype=torch.float64).exp().cumsum(0)
    ends = (shares / shares[-1] * scores).round().long()
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), ends])
    keep = (ptr.diff() * torch.rand(segments, generator=generator, dtype=torch.float64)).long()
    return torch.randn(scores, generator=generator), ptr, keep


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=7)
    options.add_argument("--scores", type=int, default=10_000_000)
    options.add_argument("--segments", type=int, default=10_000)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    values, ptr, keep = problem(args.scores, args.segments, args.seed)
    coarse = values.mul(4).round()  # some 40 distinct values: almost every threshold is tied
    kept = torch.cat([torch.zeros(1, dtype=torch.long), keep_top(values, ptr, keep).cumsum(0)])
    if not torch.equal(kept[ptr].diff(), keep):
        raise AssertionError("keep_top did not keep the counts it was asked for")
    jobs = {
        "torch_sort": lambda: torch.sort(values),
        "keep_top": lambda: keep_top(values, ptr, keep),
        "keep_top_ties": lambda: keep_top(coarse, ptr, keep),
        "keep_top_one_segment": lambda: keep_top(values, None, args.scores // 5),
    }
    seconds = take_turns(jobs, args.repeats, warmup=1)
    ratios = {f"{name}_over_sort": seconds[name] / seconds["torch_sort"] for name in list(jobs)[1:]}
    report("select", args, {f"{name}_s": value for name, value in seconds.items()} | ratios)


if __name__ == "__main__":
    main()
