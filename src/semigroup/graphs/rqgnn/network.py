r"""The network: node encoder, Chebyshev wavelets, pooling steered by the Rayleigh quotient, and the quotient itself.

.. math::
    H^{(0)} &= \sigma(W_2\, \sigma(W_1 X + b_1) + b_2), &
    Z_w &= \sum_{k=0}^{K-1} T_k(\hat L) H^{(0)} \Theta_{w,k} + \beta_w, \quad w = 1..q \\
    H &= \sigma(W_4\, \sigma(W_3 [Z_1 .. Z_q] + b_3) + b_4), &
    g &= \sum_i \langle H_i, t \rangle H_i, \quad t = \sigma(W_9\, \sigma(W_8 r + b_8) + b_9) \\
    u &= \sigma(W_6 (W_5 r + b_5) + b_6), &
    y &= W_7\, \mathrm{Dropout}(\mathrm{BN}([g, u])) + b_7

σ is the leaky ReLU of slope 0.01, :math:`\hat L = -D^{-1/2} A D^{-1/2}`, r the Rayleigh quotients of the columns of X.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from semigroup.nn.graphs import sum_rows, symmetric_product

__all__ = ["POOLINGS", "RQNetwork", "SignalBatch", "chebyshev_terms"]

Pooling = Literal["rq", "rq-mean", "mean", "sum"]
POOLINGS: tuple[str, ...] = ("rq", "rq-mean", "mean", "sum")


@dataclass(frozen=True)
class SignalBatch:
    """Graphs with signals on their nodes, laid end to end.

    Attributes
    ----------
    features : Tensor of shape (nodes, C)
        X.
    shifted : sparse CSR Tensor of shape (nodes, nodes)
        :math:`-D^{-1/2} A D^{-1/2}` of all graphs, block-diagonal.
    n_nodes : Tensor of shape (graphs,)
    batch : Tensor of shape (nodes,)
        The graph of each node.
    quotients : Tensor of shape (graphs, C)
        r.
    """

    features: Tensor
    shifted: Tensor
    n_nodes: Tensor
    batch: Tensor
    quotients: Tensor


def chebyshev_terms(shifted: Tensor, x: Float[Tensor, "nodes c"], n_terms: int) -> Float[Tensor, "nodes terms_c"]:
    r""":math:`[T_0(\hat L) x, \dots, T_{K-1}(\hat L) x]`, one sparse product each for all graphs together."""
    terms = [x]
    if n_terms > 1:
        terms.append(symmetric_product(shifted, x))
    for _ in range(n_terms - 2):
        terms.append(2 * symmetric_product(shifted, terms[-1]) - terms[-2])
    return torch.cat(terms, dim=1)


class RQNetwork(nn.Module):
    r"""Logits of the two classes, normal and anomalous, of a batch of graphs.

    No activation stands between the filters and :math:`W_3`, so both are multiplied first, to one map of the K Chebyshev
    terms: :math:`\sum_k T_k H^{(0)} M_k` with :math:`M_k = \sum_w \Theta_{w,k} W_{3,w}`. The K − 1 sparse products
    serve all filters, and their number costs nothing at each node.

    Parameters
    ----------
    n_features : int
        C.
    hidden_dim : int
        h.
    width : int
        Filters q.
    depth : int
        Chebyshev terms K of each.
    dropout : float
        Probability.
    batch_norm : bool
        Normalise [g, u] over the batch.
    pooling : {"rq", "rq-mean", "mean", "sum"}
        Steered by the Rayleigh quotient, the same divided by the number of nodes, or plain.
    rql : bool
        With the branch u.
    train_filters : bool
        False leaves Θ and β as they were drawn.

    Examples
    --------
    >>> network = RQNetwork(3, hidden_dim=8)
    >>> network.filters.shape
    torch.Size([4, 6, 3, 3])
    """

    def __init__(
        self,
        n_features: int,
        *,
        hidden_dim: int = 64,
        width: int = 4,
        depth: int = 6,
        dropout: float = 0.4,
        batch_norm: bool = True,
        pooling: Pooling = "rq",
        rql: bool = True,
        train_filters: bool = True,
    ) -> None:
        super().__init__()
        c, h = n_features, hidden_dim
        self.depth, self.pooling = depth, pooling
        self.encoder = nn.Sequential(nn.Linear(c, c), nn.LeakyReLU(), nn.Linear(c, c), nn.LeakyReLU())
        glorot = math.sqrt(3 / c)  # of a map from c to c
        self.filters = nn.Parameter(torch.empty(width, depth, c, c).uniform_(-glorot, glorot), train_filters)
        self.filter_bias = nn.Parameter(torch.zeros(width * c), train_filters)
        self.mix = nn.Linear(width * c, h)
        self.mix_again = nn.Linear(h, h)
        steered = pooling.startswith("rq")
        self.steering = (
            nn.Sequential(nn.Linear(c, h), nn.LeakyReLU(), nn.Linear(h, h), nn.LeakyReLU()) if steered else None
        )
        self.rql = nn.Sequential(nn.Linear(c, h), nn.Linear(h, h), nn.LeakyReLU()) if rql else None
        n_pooled = 2 * h if rql else h
        self.norm = nn.BatchNorm1d(n_pooled) if batch_norm else nn.Identity()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_pooled, 2))

    def forward(self, graphs: SignalBatch) -> Float[Tensor, "graphs 2"]:
        """Logits."""
        nodes = self.encode(graphs)
        pooled = self.pool(nodes, graphs)
        if self.rql is not None:
            pooled = torch.cat([pooled, self.rql(graphs.quotients)], dim=1)
        return self.head(self.norm(pooled))

    def encode(self, graphs: SignalBatch) -> Float[Tensor, "nodes h"]:
        """H: what the nodes know after filters and mixing."""
        terms = chebyshev_terms(graphs.shifted, self.encoder(graphs.features), self.depth)
        width, depth, c, _ = self.filters.shape
        mixing = self.mix.weight.T.reshape(width, c, -1)
        joint = torch.einsum("wkij,wjh->kih", self.filters, mixing).reshape(depth * c, -1)
        bias = self.mix.bias + self.mix.weight @ self.filter_bias
        return leaky_relu(self.mix_again(leaky_relu(torch.addmm(bias, terms, joint))))

    def pool(self, nodes: Float[Tensor, "nodes h"], graphs: SignalBatch) -> Float[Tensor, "graphs h"]:
        """g: one vector a graph."""
        if self.steering is not None:
            direction = self.steering(graphs.quotients)
            score = (nodes * direction.index_select(0, graphs.batch)).sum(1, keepdim=True)
            nodes = score * nodes
        pooled = sum_rows(nodes, graphs.batch, len(graphs.n_nodes))
        return pooled / graphs.n_nodes[:, None] if self.pooling.endswith("mean") else pooled
