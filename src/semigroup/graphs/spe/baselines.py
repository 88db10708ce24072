"""The encodings that SPE is compared with, behind the same interface: SignNet, BasisNet, PEG, raw eigenvectors, random walks.

SignNet and BasisNet split the spectrum into single vectors or eigenspaces before anything is learnt; where two eigenvalues
meet, that split jumps, and their encodings with it.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semigroup.base import check_choice, check_integer
from semigroup.data.graph_sets import GraphSet, pad_rows
from semigroup.graphs.spe.blocks import GIN, MLP, PositionalEncoder, copy_graphs, real_eigenpairs
from semigroup.graphs.spe.encoder import InvariantHead
from semigroup.nn.graphs import sum_rows

__all__ = ["PEG", "BasisNet", "RandomWalk", "RawEigenvectors", "SignNet"]

EQUAL_DECIMALS = 5


class SignNet(PositionalEncoder):
    r"""Sign-invariant encoding :math:`\mathrm{MLP}\big([\psi(v_k) + \psi(-v_k)]_k\big)` with a GIN as ψ.

    Parameters
    ----------
    out_dim : int
    hidden_dim : int
        Width of ψ.
    aggregate : {"sum", "concat"}
        Sum ψ over the real eigenvectors, or concatenate four channels of each of them.
    n_eigenvectors : int, optional
        d, needed for ``"concat"``.
    n_layers, mlp_layers : int
    norm : {"batch", "layer", "none"}
    epsilon_std : float

    References
    ----------
    Lim et al., "Sign and Basis Invariant Networks for Spectral Graph Representation Learning", ICLR 2023.
    """

    def __init__(
        self,
        out_dim: int,
        *,
        hidden_dim: int = 128,
        aggregate: Literal["sum", "concat"] = "sum",
        n_eigenvectors: int | None = None,
        n_layers: int = 8,
        mlp_layers: int = 3,
        norm: str = "batch",
        epsilon_std: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice(aggregate, "aggregate", ("sum", "concat"))
        if aggregate == "concat":
            check_integer(n_eigenvectors, "n_eigenvectors", minimum=1)
        self.out_dim = out_dim
        self.aggregate = aggregate
        width = hidden_dim if aggregate == "sum" else 4
        self.psi = GIN(
            1, hidden_dim, width, n_layers=n_layers, mlp_layers=mlp_layers, norm=norm, epsilon_std=epsilon_std
        )
        in_dim = hidden_dim if aggregate == "sum" else 4 * int(n_eigenvectors or 0)
        self.mlp = MLP(in_dim, hidden_dim, out_dim, mlp_layers, norm)

    def encode(self, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        vectors = graphs.eigenvectors
        assert vectors is not None
        owner, k = real_eigenpairs(graphs).nonzero(as_tuple=True)
        copies = copy_graphs(graphs, owner, vectors.dtype)
        eigenvector = k[copies.column]
        signal = vectors[copies.node, eigenvector][:, None]
        features = self.psi(signal, copies) + self.psi(-signal, copies)
        if self.aggregate == "sum":
            return self.mlp(sum_rows(features, copies.node, copies.n_all))
        table = features.new_zeros(*vectors.shape, features.shape[1])
        return self.mlp(table.index_put((copies.node, eigenvector), features).flatten(1))


class BasisNet(PositionalEncoder):
    r"""Basis-invariant encoding from the projectors :math:`P_g = V_g V_g^T` on the eigenspaces.

    Eigenvalues that agree to five decimals make one eigenspace. An IGN 2→1, one network for each multiplicity, maps each
    projector to the nodes; results and eigenvalues side by side go through a GIN. The IGN's contractions follow from V_g
    directly (diagonal :math:`\sum_k V_{ik}^2`, row sum :math:`\sum_k V_{ik} (1^T v_k)`), so no matrix is formed.

    Parameters
    ----------
    out_dim : int
    n_eigenvectors : int
        d.
    hidden_dim : int
    max_multiplicity : int
        Larger multiplicities share the network of this one.
    space_dim : int
        Channels of each eigenspace.
    n_layers, mlp_layers : int
    norm : {"batch", "layer", "none"}
    epsilon_std : float

    References
    ----------
    Lim et al., "Sign and Basis Invariant Networks for Spectral Graph Representation Learning", ICLR 2023.
    """

    def __init__(
        self,
        out_dim: int,
        *,
        n_eigenvectors: int,
        hidden_dim: int = 128,
        max_multiplicity: int = 8,
        space_dim: int = 4,
        n_layers: int = 8,
        mlp_layers: int = 3,
        norm: str = "batch",
        epsilon_std: float = 0.0,
    ) -> None:
        super().__init__()
        check_integer(n_eigenvectors, "n_eigenvectors", minimum=1)
        self.out_dim = out_dim
        self.space_dim = space_dim
        self.heads = nn.ModuleList(InvariantHead(1, hidden_dim, space_dim, norm) for _ in range(max_multiplicity))
        self.gin = GIN(
            n_eigenvectors * (space_dim + 1),
            hidden_dim,
            out_dim,
            n_layers=n_layers,
            mlp_layers=mlp_layers,
            norm=norm,
            epsilon_std=epsilon_std,
        )

    def encode(self, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        values, vectors = graphs.eigenvalues, graphs.eigenvectors
        assert values is not None and vectors is not None
        n_graphs, d = values.shape
        n = len(vectors)
        real = real_eigenpairs(graphs)
        rounded = (values.double() * 10**EQUAL_DECIMALS).round()
        is_new = torch.ones_like(real)
        is_new[:, 1:] = rounded[:, 1:] != rounded[:, :-1]
        space = is_new.cumsum(1) - 1  # number of each eigenpair's eigenspace within its graph
        flat = torch.arange(n_graphs, device=values.device)[:, None] * d + space
        multiplicity = torch.bincount(flat[real], minlength=n_graphs * d).reshape(n_graphs, d)

        size = graphs.n_nodes[:, None].to(vectors.dtype)
        sums = pad_rows(vectors, graphs.n_nodes).sum(1)  # 1^T v_k
        of_node = space[graphs.batch]

        def over_spaces(per_vector: Tensor, index: Tensor) -> Tensor:
            return torch.zeros_like(per_vector).scatter_add(1, index, per_vector)

        diagonal = over_spaces(vectors**2, of_node)
        row_sum = over_spaces(vectors * sums[graphs.batch], of_node) / size[graphs.batch]
        trace = multiplicity.to(vectors.dtype) / size
        total = over_spaces(sums**2, space) / size**2
        contractions = torch.stack([diagonal, row_sum, row_sum, trace[graphs.batch], total[graphs.batch]], dim=-1)

        outputs = vectors.new_zeros(n * d, self.space_dim)
        of_row = multiplicity[graphs.batch].clamp(max=len(self.heads))
        copy_of_graph = graphs.batch[:, None] * d + torch.arange(d, device=values.device)
        for number, head in enumerate(self.heads, start=1):
            here = of_row == number
            if bool(here.any()):
                result = head(contractions[here], copy_of_graph[here], n_graphs * d)
                outputs = outputs.index_put((here.flatten().nonzero()[:, 0],), result)
        features = torch.cat([outputs.reshape(n, -1), values[graphs.batch]], dim=1)
        copies = copy_graphs(graphs, torch.arange(n_graphs, device=values.device), vectors.dtype)
        return self.gin(features, copies)


class RawEigenvectors(PositionalEncoder):
    """The eigenvectors as they are; in training each one's sign is flipped at random.

    Parameters
    ----------
    n_eigenvectors : int
        d.
    """

    def __init__(self, n_eigenvectors: int) -> None:
        super().__init__()
        self.out_dim = check_integer(n_eigenvectors, "n_eigenvectors", minimum=1)

    def encode(self, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        values, vectors = graphs.eigenvalues, graphs.eigenvectors
        assert values is not None and vectors is not None
        if not self.training:
            return vectors
        sign = (torch.rand_like(values) < 0.5).to(vectors.dtype) * 2 - 1
        return vectors * sign[graphs.batch]


class RandomWalk(PositionalEncoder):
    """Probabilities that a random walk is back at its start after 1, 2, ... steps.

    Parameters
    ----------
    n_steps : int
    """

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self.out_dim = check_integer(n_steps, "n_steps", minimum=1)

    def encode(self, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        source, target = graphs.edge_index
        graph = graphs.batch[source]
        largest = int(graphs.n_nodes.max())
        weight = graphs.edge_weight
        dtype = torch.get_default_dtype() if graphs.eigenvectors is None else graphs.eigenvectors.dtype
        entries = torch.ones(len(source), dtype=dtype, device=source.device) if weight is None else weight.to(dtype)
        step = entries.new_zeros(len(graphs), largest, largest)
        start = graphs.node_start[graph]
        step = step.index_put((graph, source - start, target - start), entries, accumulate=True)
        step = step / step.sum(-1, keepdim=True).clamp(min=torch.finfo(step.dtype).tiny)
        inside = torch.arange(largest, device=source.device) < graphs.n_nodes[:, None]
        walk, returns = step, []
        for _ in range(self.out_dim):
            returns.append(walk.diagonal(dim1=1, dim2=2)[inside])
            walk = walk @ step
        return torch.stack(returns, dim=1)


class PEG(PositionalEncoder):
    """Distances ‖V_i − V_j‖ along the edges, by which the backbone weighs its edge features; no encoding of nodes.

    References
    ----------
    Wang et al., "Equivariant and Stable Positional Encoding for More Powerful Graph Neural Networks", ICLR 2022.
    """

    out_dim = 1
    on_edges = True

    def encode(self, graphs: GraphSet) -> Float[Tensor, "edges 1"]:
        vectors = graphs.eigenvectors
        assert vectors is not None
        source, target = graphs.edge_index
        return (vectors[source] - vectors[target]).norm(dim=1, keepdim=True)
