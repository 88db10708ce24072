"""Sparse products and sums over many graphs laid end to end."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.utils import scatter

__all__ = ["sparse_rows", "sum_rows", "symmetric_product"]


def sparse_rows(degree: Int[Tensor, " rows"], columns: Int[Tensor, " entries"], values: Tensor) -> Tensor:
    """A square CSR tensor from entries that are sorted by row, ``degree[i]`` of them in row i."""
    start = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(start, columns, values, (len(degree), len(degree)), check_invariants=False)


class _SymmetricProduct(torch.autograd.Function):
    """Its own adjoint, so nothing is transposed for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix @ gradients[0].contiguous(), None


def symmetric_product(matrix: Tensor, x: Float[Tensor, "rows f"]) -> Float[Tensor, "rows f"]:
    """Product with a symmetric sparse matrix that carries no gradient.

    Examples
    --------
    >>> path = sparse_rows(torch.tensor([1, 1]), torch.tensor([1, 0]), torch.ones(2))
    >>> symmetric_product(path, torch.tensor([[1.0], [5.0]])).tolist()
    [[5.0], [1.0]]
    """
    return _SymmetricProduct.apply(x, matrix)


def sum_rows(x: Float[Tensor, "rows f"], group: Int[Tensor, " rows"], n_groups: int) -> Float[Tensor, "groups f"]:
    """Sum of the rows of each group."""
    return scatter(x, group, dim=0, dim_size=n_groups, reduce="sum")
