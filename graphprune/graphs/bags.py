"""A linear map of sparse node features, such as bags of words."""

from __future__ import annotations

from torch import Tensor, nn

from graphprune.graphs.segments import pointers
from graphprune.graphs.sums import bags

# Below this share of non-zero features a sum over them is faster than the dense product.
SPARSE = 0.1


class BagLinear(nn.Linear):
    """``nn.Linear`` that reads only the non-zero entries of sparse rows; the same map, up to rounding.

    Planetoid's features are 1 % words: the dense product would be nearly all of a training step's time.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, in_features)`` to ``(N, out_features)``; no gradient goes to sparse inputs."""
        row, column = input.nonzero(as_tuple=True)
        if input.requires_grad or row.numel() > SPARSE * input.numel():
            return super().forward(input)
        values = input[row, column].to(self.weight.dtype)
        ptr = pointers(row.bincount(minlength=input.size(0)))
        out = bags(column, self.weight.t().contiguous(), ptr, values)
        return out if self.bias is None else out + self.bias
