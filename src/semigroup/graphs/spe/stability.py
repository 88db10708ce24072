r"""How far an encoding moves when a graph moves a little.

A positional encoding is stable if :math:`\|PE(L) - P_* PE(L')\|_F \le C \|L - P_* L' P_*^T\|_F^c` for all pairs of graphs, with
the best matching of nodes :math:`P_*`. Two small changes of the weights of one graph leave the nodes where they are, so there
:math:`P_* = I` and the change can be measured; its slope against the size of the perturbation in a log-log plot is c.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semigroup.base import numpy_generator
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.graphs.spe.blocks import PositionalEncoder
from semigroup.graphs.spe.spectrum import laplacian_eigenpairs

__all__ = ["encoding_changes", "spe_bound"]


def encoding_changes(
    encoder: PositionalEncoder,
    graph: Any,
    noise_levels: Sequence[float] | np.ndarray,
    *,
    n_eigenvectors: int | None = None,
    random_state: int | np.random.Generator | None = None,
) -> Float[np.ndarray, " levels"]:
    r"""Relative change of an encoding between two random perturbations of a graph's weights, for each size of them.

    The weight of each edge becomes :math:`w (1 + \epsilon z)` with z standard normal, the same in both directions; the result
    is :math:`\|PE - PE'\|_F / \|PE\|_F` for two independent draws z, in float64, the encoder in evaluation mode. The draws are
    the same at every level, so that only the size of the perturbation changes from one to the next.

    Parameters
    ----------
    encoder : PositionalEncoder
        Left as it is.
    graph : graph in any form of `as_graph_set`
    noise_levels : sequence of float
        The ε.
    n_eigenvectors : int, optional
        d; None takes all.
    random_state : int, Generator or None

    Examples
    --------
    >>> import networkx as nx
    >>> from semigroup.graphs.spe import SPE
    >>> encoder = SPE(4, n_channels=2, hidden_dim=8, rho_layers=1)
    >>> coarse, fine = encoding_changes(encoder, nx.cycle_graph(8), [1e-3, 1e-6], random_state=0)
    >>> bool(fine < 1e-2 * coarse)
    True
    """
    generator = numpy_generator(random_state)
    still = copy.deepcopy(encoder).double().eval()
    base = as_graph_set([graph])
    n = int(base.n_nodes[0])
    directions = torch.from_numpy(generator.standard_normal((2, n, n)))
    changes = []
    for noise in noise_levels:
        drawn = [_perturbed(base, noise * direction, n_eigenvectors) for direction in directions]
        with torch.no_grad():
            first, second = (still.encode(one) for one in drawn)
        changes.append(float((first - second).norm() / first.norm()))
    return np.array(changes)


def _perturbed(base: GraphSet, change: Float[Tensor, "n n"], d: int | None) -> GraphSet:
    source, target = base.edge_index
    factor = 1 + change[torch.minimum(source, target), torch.maximum(source, target)]
    weight = factor if base.edge_weight is None else base.edge_weight.double() * factor
    moved = GraphSet(base.n_nodes, base.edge_index, edge_weight=weight)
    eigenvalues, eigenvectors = laplacian_eigenpairs(moved, d)
    return replace(moved, eigenvalues=eigenvalues, eigenvectors=eigenvectors)


def spe_bound(
    change: float, gap: float, d: int, *, phi_lipschitz: float, phi_largest: float, rho_lipschitz: float = 1.0
) -> float:
    r"""The stability theorem's upper bound on the change of SPE.

    .. math::
        \|SPE(L) - P_* SPE(L')\|_F \le (\alpha_1 + \alpha_2) d^{5/4} \sqrt{\Delta} + (\alpha_2 d / \gamma + \alpha_3) \Delta,

    :math:`\alpha_1 = 2 J \sum K_\ell, \alpha_2 = 4 \sqrt 2 J \sum M_\ell, \alpha_3 = J \sum K_\ell`.

    Parameters
    ----------
    change : float
        :math:`\Delta = \|L - P_* L' P_*^T\|_F`.
    gap : float
        :math:`\gamma = \lambda_{d+1} - \lambda_d`; infinite where all eigenpairs are kept.
    d : int
        Eigenpairs kept.
    phi_lipschitz : float
        :math:`\sum_\ell K_\ell`.
    phi_largest : float
        :math:`\sum_\ell \sup \|\phi_\ell\|`.
    rho_lipschitz : float
        J.

    Examples
    --------
    >>> spe_bound(0.0, 1.0, 4, phi_lipschitz=1.0, phi_largest=1.0)
    0.0
    """
    alpha_1 = 2 * rho_lipschitz * phi_lipschitz
    alpha_2 = 4 * np.sqrt(2) * rho_lipschitz * phi_largest
    alpha_3 = rho_lipschitz * phi_lipschitz
    return float((alpha_1 + alpha_2) * d**1.25 * np.sqrt(change) + (alpha_2 * d / gap + alpha_3) * change)
