r"""The stable and expressive positional encoding: eigenpairs → node encodings.

.. math::
    \mathrm{SPE}(V, \lambda) = \rho\big(V \mathrm{diag}(\phi_1(\lambda)) V^T, \dots, V \mathrm{diag}(\phi_m(\lambda)) V^T\big)

φ weighs the eigenvalues, softly and equally where they are equal; ρ sees the matrices
:math:`W_{ij\ell} = \sum_k \phi_\ell(\lambda)_k V_{ik} V_{jk}` only, never V: signs and bases cannot matter.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semigroup.base import check_choice, check_integer, check_number
from semigroup.data.graph_sets import GraphSet, pad_rows
from semigroup.graphs.spe.blocks import (
    GIN,
    MLP,
    Copies,
    Norm,
    PositionalEncoder,
    copy_graphs,
    make_norm,
    real_eigenpairs,
)
from semigroup.nn.graphs import sum_rows

__all__ = ["SPE", "CubicSpline", "Phi", "Rho", "pair_features"]

Phi = Literal["mlp", "deepsets", "transformer", "constant", "spline"]
Rho = Literal["gin", "mlp", "gin-deepsets", "ign", "ppgn"]
PHIS: tuple[str, ...] = ("mlp", "deepsets", "transformer", "constant", "spline")
RHOS: tuple[str, ...] = ("gin", "mlp", "gin-deepsets", "ign", "ppgn")
NORMS: tuple[str, ...] = ("batch", "layer", "none")


# --- φ: weights of the eigenvalues -------------------------------------------------------------------------------------
# Each takes eigenvalues (graphs, d) and the mask of the real ones, and gives (graphs, d, m); entries outside the mask are
# never read. φ_1 ... φ_m are the m outputs of one network (the paper's code has m networks with one output each).


class ElementwisePhi(nn.Module):
    """An MLP of each eigenvalue; the paper's main choice."""

    def __init__(self, n_channels: int, hidden: int, n_layers: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.mlp = MLP(1, hidden, n_channels, n_layers, norm, dropout)

    def forward(
        self, eigenvalues: Float[Tensor, "graphs d"], real: Bool[Tensor, "graphs d"]
    ) -> Float[Tensor, "graphs d m"]:
        weights = eigenvalues.new_zeros(*eigenvalues.shape, self.n_channels)
        return weights.index_put((real,), self.mlp(eigenvalues[real][:, None]))


class DeepSetsPhi(nn.Module):
    r"""Layers :math:`X \mapsto \sigma(X W_1 + b + 1 \sum_k X_k W_2)`, summed over real eigenvalues only.

    The last layer is linear: with a ReLU after it, as in the paper's code, φ could never be negative and could die.
    """

    def __init__(self, n_channels: int, hidden: int, n_layers: int) -> None:
        super().__init__()
        widths = [1] + [hidden] * (n_layers - 1) + [n_channels]
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.summed = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths))

    def forward(
        self, eigenvalues: Float[Tensor, "graphs d"], real: Bool[Tensor, "graphs d"]
    ) -> Float[Tensor, "graphs d m"]:
        x = eigenvalues[..., None]
        for number, (own, summed) in enumerate(zip(self.own, self.summed)):
            total = torch.where(real[..., None], x, 0.0).sum(1, keepdim=True)
            x = own(x) + summed(total)
            x = x.relu() if number < len(self.own) - 1 else x
        return x


class TransformerPhi(nn.Module):
    """A transformer over the eigenvalues as tokens, without positions, four heads."""

    def __init__(self, n_channels: int, hidden: int, n_layers: int, dropout: float, n_heads: int = 4) -> None:
        super().__init__()
        if hidden % n_heads:
            raise ValueError(f"phi_hidden must be a multiple of {n_heads} for phi='transformer', got {hidden}")
        self.first = nn.Linear(1, hidden)
        block = nn.TransformerEncoderLayer(hidden, n_heads, 2 * hidden, dropout, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, n_layers, enable_nested_tensor=False)
        self.last = nn.Linear(hidden, n_channels)

    def forward(
        self, eigenvalues: Float[Tensor, "graphs d"], real: Bool[Tensor, "graphs d"]
    ) -> Float[Tensor, "graphs d m"]:
        return self.last(self.blocks(self.first(eigenvalues[..., None]), src_key_padding_mask=~real))


class ConstantPhi(nn.Module):
    """φ ≡ 1: W is the projector on the kept eigenvectors."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_channels = n_channels

    def forward(
        self, eigenvalues: Float[Tensor, "graphs d"], real: Bool[Tensor, "graphs d"]
    ) -> Float[Tensor, "graphs d m"]:
        return eigenvalues.new_ones(*eigenvalues.shape, self.n_channels)


class CubicSpline(nn.Module):
    """Twice continuously differentiable cubic splines on [0, 2], one a channel, applied to each eigenvalue.

    Equal knots; the values at the knots and the two end slopes are learnt (pieces + 3 numbers a channel, all C² cubic
    splines on these knots). More pieces allow a larger Lipschitz constant: less stable, more expressive. Each channel starts
    as a random straight line, whatever the number of pieces, so that pieces add freedom and not roughness.

    Parameters
    ----------
    n_channels : int
    n_pieces : int
    """

    def __init__(self, n_channels: int, n_pieces: int) -> None:
        super().__init__()
        self.n_pieces = n_pieces
        level, tilt = torch.randn(2, n_channels)
        knots = torch.linspace(-1.0, 1.0, n_pieces + 1)[:, None]
        self.values = nn.Parameter(level + tilt * knots)
        self.end_slopes = nn.Parameter(tilt.repeat(2, 1))
        step = 2.0 / n_pieces
        # Continuity of the second derivative: s[i-1] + 4 s[i] + s[i+1] = 3 (y[i+1] - y[i-1]) / step for the slopes s.
        slopes = torch.eye(n_pieces + 1, dtype=torch.float64)
        values = torch.zeros(n_pieces + 1, n_pieces + 1, dtype=torch.float64)
        for i in range(1, n_pieces):
            slopes[i, i - 1 : i + 2] = torch.tensor([1.0, 4.0, 1.0])
            values[i, i - 1], values[i, i + 1] = -3 / step, 3 / step
        ends = torch.zeros(n_pieces + 1, 2, dtype=torch.float64)
        ends[0, 0] = ends[-1, 1] = 1.0
        solution = torch.linalg.solve(slopes, torch.cat([values, ends], dim=1))
        self.register_buffer("slope_of", solution.to(torch.get_default_dtype()))

    def forward(
        self, eigenvalues: Float[Tensor, "graphs d"], real: Bool[Tensor, "graphs d"]
    ) -> Float[Tensor, "graphs d m"]:
        step = 2.0 / self.n_pieces
        slope = self.get_buffer("slope_of") @ torch.cat([self.values, self.end_slopes])
        position = eigenvalues.clamp(0.0, 2.0) / step
        left = position.detach().floor().long().clamp(max=self.n_pieces - 1)
        t = (position - left)[..., None]
        return (
            (1 + 2 * t) * (1 - t) ** 2 * self.values[left]
            + t * (1 - t) ** 2 * step * slope[left]
            + t**2 * (3 - 2 * t) * self.values[left + 1]
            + t**2 * (t - 1) * step * slope[left + 1]
        )


# --- ρ: from pairs of nodes to nodes -----------------------------------------------------------------------------------
# Each takes the features of all pairs (i, j) of nodes of the same graph, one row a pair, and gives one row a node.


def pair_features(
    weights: Float[Tensor, "graphs d m"],
    eigenvectors: Float[Tensor, "nodes d"],
    n_nodes: Int[Tensor, " graphs"],
    first: int = 0,
    last: int | None = None,
) -> Float[Tensor, "pairs m"]:
    r""":math:`W_{ij\ell} = \sum_k \phi_\ell(\lambda)_k V_{ik} V_{jk}`, one row for each pair of nodes of the same graph.

    Rows are ordered by graph, then by column j, then by row i: the order of `copy_graphs` with one copy a column.

    Parameters
    ----------
    weights : Tensor of shape (graphs, d, m)
    eigenvectors : Tensor of shape (nodes, d)
    n_nodes : Tensor of shape (graphs,)
    first, last : int
        Only the columns ``first <= j < last``, counted inside each graph.
    """
    padded = pad_rows(eigenvectors, n_nodes)
    n_graphs, largest, d = padded.shape
    columns = padded[:, first:last]
    n_columns = columns.shape[1]
    weighted = columns.transpose(1, 2)[..., None] * weights[:, :, None]
    dense = padded @ weighted.reshape(n_graphs, d, -1)
    inside = torch.arange(largest, device=n_nodes.device) < n_nodes[:, None]
    real = inside[:, first:last, None] & inside[:, None]
    graph, column, row = real.nonzero(as_tuple=True)
    place = (graph * largest + row) * n_columns + column
    return dense.reshape(n_graphs * largest * n_columns, -1).index_select(0, place)


class GINRho(nn.Module):
    """A GIN on each column of W as a signal on the graph, then the sum over columns; the paper's main choice."""

    def __init__(self, gin: GIN) -> None:
        super().__init__()
        self.gin = gin
        self.floats_per_pair = gin.floats_per_row

    def forward(self, x: Float[Tensor, "pairs m"], pairs: Copies, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        return sum_rows(self.gin(x, pairs), pairs.node, pairs.n_all)


class MLPRho(nn.Module):
    """An MLP (LayerNorm) of each entry of W, then the sum over columns."""

    def __init__(self, n_channels: int, hidden: int, out_dim: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.mlp = MLP(n_channels, hidden, out_dim, n_layers, "layer", dropout)
        self.floats_per_pair = self.mlp.floats_per_row

    def forward(self, x: Float[Tensor, "pairs m"], pairs: Copies, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        return sum_rows(self.mlp(x), pairs.node, pairs.n_all)


class GINDeepSetsRho(nn.Module):
    """A GIN layer along the rows, then a DeepSets layer along the columns, alternately; then the sum over columns."""

    def __init__(self, gin: GIN, hidden: int, out_dim: int) -> None:
        super().__init__()
        n_layers = len(gin.mlps)
        widths = [hidden] * (n_layers - 1) + [out_dim]
        self.gin = gin
        self.own = nn.ModuleList(nn.Linear(width, width) for width in widths)
        self.summed = nn.ModuleList(nn.Linear(width, width, bias=False) for width in widths)
        self.floats_per_pair = gin.floats_per_row + 2 * sum(widths)

    def forward(self, x: Float[Tensor, "pairs m"], pairs: Copies, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        for number, (own, summed) in enumerate(zip(self.own, self.summed)):
            x = self.gin.layer(number, x, pairs)
            total = summed(sum_rows(x, pairs.node, pairs.n_all))
            x = own(x) + total.index_select(0, pairs.node)
            x = x.relu() if number < len(self.own) - 1 else x
        return sum_rows(x, pairs.node, pairs.n_all)


class InvariantHead(nn.Module):
    """The network behind an equivariant map from matrices to nodes (IGN 2→1).

    One linear map of the five contractions (diagonal, row sum, column sum, trace, total), ReLU and norm; two layers
    on nodes with the basis {identity, mean}; two linear layers.
    """

    def __init__(self, n_channels: int, hidden: int, out_dim: int, norm: str) -> None:
        super().__init__()
        self.first = nn.Linear(5 * n_channels, hidden)
        self.norm = make_norm(norm, hidden)
        self.own = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.mean = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(2))
        self.last = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out_dim))

    def forward(
        self, contractions: Float[Tensor, "nodes five_m"], batch: Int[Tensor, " nodes"], n_graphs: int
    ) -> Float[Tensor, "nodes p"]:
        x = self.norm(self.first(contractions).relu())
        size = torch.bincount(batch, minlength=n_graphs).clamp(min=1)[:, None]
        for own, mean in zip(self.own, self.mean):
            x = (own(x) + mean(sum_rows(x, batch, n_graphs) / size)[batch]).relu()
        return self.last(x)


class IGNRho(nn.Module):
    """An invariant graph network from matrices to nodes (2→1): linear equivariant maps instead of message passing."""

    def __init__(self, n_channels: int, hidden: int, out_dim: int, norm: str) -> None:
        super().__init__()
        self.head = InvariantHead(n_channels, hidden, out_dim, norm)
        self.floats_per_pair = n_channels

    def forward(self, x: Float[Tensor, "pairs m"], pairs: Copies, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        batch, n_graphs = graphs.batch, len(graphs)
        size = graphs.n_nodes.clamp(min=1)[:, None]
        diagonal = x[pairs.node == pairs.column]
        row_sum = sum_rows(x, pairs.node, pairs.n_all) / size[batch]
        column_sum = sum_rows(x, pairs.column, pairs.n_all) / size[batch]
        trace = sum_rows(diagonal, batch, n_graphs) / size
        total = sum_rows(row_sum, batch, n_graphs) / size
        contractions = torch.cat([diagonal, row_sum, column_sum, trace[batch], total[batch]], dim=1)
        return self.head(contractions, batch, n_graphs)


class PPGNRho(nn.Module):
    r"""Provably powerful graph networks: blocks :math:`X \leftarrow \mathrm{MLP}[X, m_1(X) m_2(X)]` with matrix products
    in each channel, then diagonal and mean of the off-diagonal of each row."""

    def __init__(
        self, n_channels: int, hidden: int, out_dim: int, n_blocks: int, mlp_layers: int, norm: str, dropout: float
    ) -> None:
        super().__init__()
        widths = [n_channels] + [hidden] * n_blocks
        left = [MLP(width, hidden, hidden, mlp_layers, norm, dropout) for width in widths[:-1]]
        right = [MLP(width, hidden, hidden, mlp_layers, norm, dropout) for width in widths[:-1]]
        mix = [MLP(width + hidden, hidden, hidden, 2, norm, dropout) for width in widths[:-1]]
        self.left, self.right, self.mix = nn.ModuleList(left), nn.ModuleList(right), nn.ModuleList(mix)
        self.last = nn.Linear(2 * hidden, out_dim)
        # Two matrices, their product and its rows, beside the MLPs.
        self.floats_per_pair = sum(mlp.floats_per_row for mlp in [*left, *right, *mix]) + 5 * hidden * n_blocks

    def forward(self, x: Float[Tensor, "pairs m"], pairs: Copies, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        n_graphs, largest = len(graphs), int(graphs.n_nodes.max())
        graph = graphs.batch[pairs.node]
        row = pairs.node - graphs.node_start[graph]
        column = pairs.column - graphs.node_start[graph]
        place = (graph * largest + row) * largest + column

        def as_matrices(values: Tensor) -> Tensor:
            dense = values.new_zeros(n_graphs * largest**2, values.shape[1]).index_copy(0, place, values)
            return dense.reshape(n_graphs, largest, largest, -1).permute(0, 3, 1, 2)

        for left, right, mix in zip(self.left, self.right, self.mix):
            product = as_matrices(left(x)) @ as_matrices(right(x))
            rows = product.permute(0, 2, 3, 1).reshape(n_graphs * largest**2, -1).index_select(0, place)
            x = mix(torch.cat([x, rows], dim=1))
        on_diagonal = pairs.node == pairs.column
        diagonal = x[on_diagonal]
        others = (graphs.n_nodes - 1).clamp(min=1)[graphs.batch][:, None]
        off_diagonal = (sum_rows(x, pairs.node, pairs.n_all) - diagonal) / others
        return self.last(torch.cat([diagonal, off_diagonal], dim=1))


# --- the encoder -------------------------------------------------------------------------------------------------------


class SPE(PositionalEncoder):
    r"""Stable and expressive positional encoding of the nodes of a batch of graphs.

    .. math::
        \mathrm{PE} = \rho\big(V \mathrm{diag}(\phi_1(\lambda)) V^T, \dots, V \mathrm{diag}(\phi_m(\lambda)) V^T\big)

    It does not depend on the signs or the basis of the eigenvectors, follows the numbering of the nodes, and changes
    continuously with the graph. Put it in a PyTorch Geometric model after the transform `AddEigenpairs`.

    Parameters
    ----------
    out_dim : int
        Width p of the encoding.
    n_channels : int
        Matrices m between φ and ρ.
    hidden_dim : int
        Width of ρ.
    phi : {"mlp", "deepsets", "transformer", "constant", "spline"}
        Weights of the eigenvalues: an MLP of each one; DeepSets or a transformer over all; 1; a cubic spline of each one.
    phi_layers, phi_hidden : int
        Layers and width of φ.
    n_pieces : int
        Pieces of the spline.
    rho : {"gin", "mlp", "gin-deepsets", "ign", "ppgn"}
        The network on the matrices: GIN on each column; MLP of each entry; GIN with DeepSets across columns; invariant
        graph network; provably powerful graph network.
    rho_layers : int
        Layers (GIN) or blocks (PPGN) of ρ.
    mlp_layers : int
        Layers of each MLP in ρ.
    norm : {"batch", "layer", "none"}
        Normalisation inside the MLPs, over real node pairs and real eigenvalues only.
    norm_between : bool
        Normalise between the layers of ρ also.
    residual : bool
        Skip connections in ρ.
    dropout : float
    epsilon_std : float
        Standard deviation of the GIN's initial ε.
    column_chunk : int, optional
        Columns of W that are held at a time; the memory then grows with n · column_chunk instead of n². For ρ = "gin" and
        "mlp", whose columns do not see each other, with ``norm`` "layer" or "none".
    memory_limit_gb : float
        A batch that is estimated to need more is refused.

    Notes
    -----
    For a batch with ΣN nodes the cost of ρ is O(Σ n² (m + hidden_dim)) a layer: n² rows for a graph of n nodes.

    References
    ----------
    Huang et al., "On the Stability of Expressive Positional Encodings for Graphs", ICLR 2024, arXiv:2310.02579.

    Examples
    --------
    >>> from torch_geometric.data import Batch, Data
    >>> from semigroup.graphs import AddEigenpairs
    >>> triangle = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]]), num_nodes=3)
    >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    >>> batch = Batch.from_data_list([AddEigenpairs(4)(triangle), AddEigenpairs(4)(edge)])
    >>> encoder = SPE(8, n_channels=4, hidden_dim=16, rho_layers=2)
    >>> encoder(batch.eigenvalues, batch.eigenvectors, batch.edge_index, batch.batch).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        out_dim: int,
        *,
        n_channels: int = 16,
        hidden_dim: int = 128,
        phi: Phi = "mlp",
        phi_layers: int = 3,
        phi_hidden: int = 16,
        n_pieces: int = 8,
        rho: Rho = "gin",
        rho_layers: int = 8,
        mlp_layers: int = 3,
        norm: Norm = "batch",
        norm_between: bool = False,
        residual: bool = False,
        dropout: float = 0.0,
        epsilon_std: float = 0.0,
        column_chunk: int | None = None,
        memory_limit_gb: float = 8.0,
    ) -> None:
        super().__init__()
        sizes = {
            "out_dim": out_dim,
            "n_channels": n_channels,
            "hidden_dim": hidden_dim,
            "phi_layers": phi_layers,
            "phi_hidden": phi_hidden,
            "n_pieces": n_pieces,
            "rho_layers": rho_layers,
            "mlp_layers": mlp_layers,
        }
        for name, value in sizes.items():
            check_integer(value, name, minimum=1)
        check_choice(phi, "phi", PHIS)
        check_choice(rho, "rho", RHOS)
        check_choice(norm, "norm", NORMS)
        check_number(dropout, "dropout", minimum=0, below=1)
        check_number(epsilon_std, "epsilon_std", minimum=0)
        check_number(memory_limit_gb, "memory_limit_gb", above=0)
        if column_chunk is not None:
            check_integer(column_chunk, "column_chunk", minimum=1)
            if rho not in ("gin", "mlp"):
                raise ValueError(f"column_chunk needs rho='gin' or 'mlp', whose columns are independent, got {rho!r}")
            if norm == "batch":
                raise ValueError(
                    "column_chunk needs norm='layer' or 'none': batch statistics would be those of a chunk"
                )
        self.out_dim = out_dim
        self.n_channels = n_channels
        self.column_chunk = column_chunk
        self.memory_limit_gb = memory_limit_gb
        self.phi: nn.Module
        if phi == "mlp":
            self.phi = ElementwisePhi(n_channels, phi_hidden, phi_layers, norm, dropout)
        elif phi == "deepsets":
            self.phi = DeepSetsPhi(n_channels, phi_hidden, phi_layers)
        elif phi == "transformer":
            self.phi = TransformerPhi(n_channels, phi_hidden, phi_layers, dropout)
        elif phi == "constant":
            self.phi = ConstantPhi(n_channels)
        else:
            self.phi = CubicSpline(n_channels, n_pieces)

        def gin() -> GIN:
            return GIN(
                n_channels,
                hidden_dim,
                out_dim,
                n_layers=rho_layers,
                mlp_layers=mlp_layers,
                norm=norm,
                dropout=dropout,
                residual=residual,
                norm_between=norm_between,
                epsilon_std=epsilon_std,
            )

        self.rho: GINRho | MLPRho | GINDeepSetsRho | IGNRho | PPGNRho
        if rho == "gin":
            self.rho = GINRho(gin())
        elif rho == "mlp":
            self.rho = MLPRho(n_channels, hidden_dim, out_dim, mlp_layers, dropout)
        elif rho == "gin-deepsets":
            self.rho = GINDeepSetsRho(gin(), hidden_dim, out_dim)
        elif rho == "ign":
            self.rho = IGNRho(n_channels, hidden_dim, out_dim, norm)
        else:
            self.rho = PPGNRho(n_channels, hidden_dim, out_dim, rho_layers, mlp_layers, norm, dropout)

    def memory_gb(self, n_nodes: Int[Tensor, " graphs"], itemsize: int = 4) -> float:
        """Estimated memory of one call with gradients on a batch of graphs with these numbers of nodes, in 10⁹ bytes.

        Parameters
        ----------
        n_nodes : Tensor of shape (graphs,)
        itemsize : int
            Bytes a number.
        """
        sizes = n_nodes.double()
        columns = sizes if self.column_chunk is None else sizes.clamp(max=float(self.column_chunk))
        pairs = float((sizes * columns).sum())
        padded = float(len(sizes) * sizes.max() * columns.max())
        return (pairs * (self.rho.floats_per_pair + self.n_channels) + 2 * padded * self.n_channels) * itemsize / 1e9

    def check_memory(self, n_nodes: Int[Tensor, " graphs"], itemsize: int = 4) -> None:
        """Refuse graphs whose pairs of nodes do not fit.

        Raises
        ------
        ValueError
            If a batch of graphs with these numbers of nodes would need more memory than `memory_limit_gb`.
        """
        needed = self.memory_gb(n_nodes, itemsize)
        if needed > self.memory_limit_gb:
            raise ValueError(
                f"memory_limit_gb is {self.memory_limit_gb:g}, and {len(n_nodes)} graphs with up to {int(n_nodes.max())} nodes "
                f"need about {needed:.3g} GB for their pairs of nodes: take smaller batches, column_chunk, or smaller widths"
            )

    def encode(self, graphs: GraphSet) -> Float[Tensor, "nodes p"]:
        """Encodings of the nodes of graphs that were checked and hold their eigenpairs.

        Raises
        ------
        ValueError
            If the batch would need more memory than `memory_limit_gb`.
        """
        eigenvalues, eigenvectors = graphs.eigenvalues, graphs.eigenvectors
        assert eigenvalues is not None and eigenvectors is not None
        self.check_memory(graphs.n_nodes, eigenvectors.element_size())
        real = real_eigenpairs(graphs)
        weights = torch.where(real[..., None], self.phi(eigenvalues, real), 0.0)
        if self.column_chunk is None:
            return self._columns(weights, eigenvectors, graphs, 0, None)
        encoding = eigenvectors.new_zeros(len(eigenvectors), self.out_dim)
        for first in range(0, int(graphs.n_nodes.max()), self.column_chunk):
            last = first + self.column_chunk
            # Recomputed in the backward pass: only one chunk's activations exist at a time.
            encoding = encoding + checkpoint(
                self._columns, weights, eigenvectors, graphs, first, last, use_reentrant=False
            )
        return encoding

    def _columns(
        self,
        weights: Float[Tensor, "graphs d m"],
        eigenvectors: Float[Tensor, "nodes d"],
        graphs: GraphSet,
        first: int,
        last: int | None,
    ) -> Float[Tensor, "nodes p"]:
        """ρ on the columns ``first <= j < last`` of each graph."""
        local = torch.arange(len(eigenvectors), device=eigenvectors.device) - graphs.node_start[graphs.batch]
        chosen = torch.nonzero((local >= first) & (local < (last if last is not None else len(local))))[:, 0]
        pairs = copy_graphs(graphs, graphs.batch[chosen], eigenvectors.dtype)
        pairs = Copies(pairs.node, chosen[pairs.column], pairs.adjacency, pairs.n_all)
        return self.rho(pair_features(weights, eigenvectors, graphs.n_nodes, first, last), pairs, graphs)
