r"""Where on the spectrum of its graph a signal has its energy.

With :math:`L = I - D^{-1/2} A D^{-1/2} = U \Lambda U^T` (the row of an isolated node is zero) and :math:`\hat x = U^T x`:

.. math::
    E_k = \sum_{j \le k} \hat x_j^2 \Big/ \sum_j \hat x_j^2, \qquad
    RQ(L, x) = \frac{x^T L x}{x^T x} = \sum_k \lambda_k \frac{\hat x_k^2}{\lVert x \rVert^2}
             = \lambda_1 + \sum_{k < n} (\lambda_{k+1} - \lambda_k) (1 - E_k)

The accumulated energy E is a distribution function over the spectrum, the Rayleigh quotient its mean. The quotient
takes one sparse product for all graphs together; so does each Chebyshev moment of the distribution, from which the
curve follows up to a known resolution. The curve itself, with its steps, takes the eigenvectors.

A signal with several columns counts as one with values in :math:`R^C`: energies add up over the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int

from semigroup.base import check_array, check_integer, in_kind
from semigroup.data.graph_sets import GraphSet, as_graph_set
from semigroup.graphs.spe.spectrum import laplacian_eigenpairs
from semigroup.operators import laplacian

__all__ = ["SpectralEnergy", "rayleigh_quotients", "smoothed_energy", "spectral_energy"]


def rayleigh_quotients(graphs: Any, signals: Any = None, *, per_channel: bool = True, normalize: bool = True) -> Any:
    r"""Rayleigh quotients of signals on graphs, by one sparse product and without eigenvectors.

    Parameters
    ----------
    graphs : GraphSet, or list of networkx graphs, PyG ``Data``, sparse matrices or SMILES strings
    signals : array of shape (nodes, C), optional
        One row a node, graph after graph. By default the nodes' features, integer ones as indicators of each type.
    per_channel : bool
        A quotient for each column, or one of the whole signal.
    normalize : bool
        Divide by :math:`x^T x`, where that is not zero; otherwise :math:`x^T L x`.

    Returns
    -------
    ndarray, or Tensor where the signals are one, of shape (graphs, C) or (graphs,)
        In [0, 2] if normalised; 0 where a signal vanishes.

    Raises
    ------
    ValueError
        If a graph is refused, or the signals have not one row a node or hold NaN.

    Examples
    --------
    >>> import networkx as nx
    >>> ring = nx.cycle_graph(4)
    >>> rayleigh_quotients([ring, ring], [[1.0], [1], [1], [1], [1], [-1], [1], [-1]])
    array([[0.],
           [2.]])
    """
    found = as_graph_set(graphs).to("cpu")
    x = _signals(found, signals)
    smoothness, energy = quadratic_forms(found, x)
    if not per_channel:
        smoothness, energy = smoothness.sum(1), energy.sum(1)
    if normalize:
        smoothness = np.divide(smoothness, energy, out=np.zeros_like(smoothness), where=energy > 0)
    return in_kind(torch.from_numpy(smoothness), like=signals)


@dataclass(frozen=True)
class SpectralEnergy:
    """Eigenvalues of graphs and the energy of a signal at each of them, graph after graph.

    Attributes
    ----------
    n_nodes : int array of shape (graphs,)
    eigenvalues : array of shape (nodes,)
        Ascending in each graph, within [0, 2].
    energy : array of shape (nodes,)
        Part of the signal's energy at each eigenvalue; adds up to 1 in each graph (to 0 where the signal vanishes).
    """

    n_nodes: Int[np.ndarray, " graphs"]
    eigenvalues: Float[np.ndarray, " nodes"]
    energy: Float[np.ndarray, " nodes"]

    def rayleigh_quotients(self) -> Float[np.ndarray, " graphs"]:
        """Mean eigenvalue under the energy."""
        return np.add.reduceat(self.eigenvalues * self.energy, self._start)

    def area_above(self) -> Float[np.ndarray, " graphs"]:
        """Area between the curve of the accumulated energy and 1, from eigenvalue 0 on."""
        accumulated = self._padded(self.energy).cumsum(1)
        values = self._padded(self.eigenvalues)
        gaps = np.diff(values, axis=1)
        inside = np.arange(1, values.shape[1]) < self.n_nodes[:, None]
        return values[:, 0] + np.where(inside, gaps * (1 - accumulated[:, :-1]), 0.0).sum(1)

    def accumulated(self, thresholds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "graphs t"]:
        """Part of the energy at eigenvalues up to each threshold (and 1e-9 beyond, for eigenvalues that are meant to be it)."""
        curve = np.pad(self._padded(self.energy).cumsum(1), ((0, 0), (1, 0)))
        graph = np.arange(len(self.n_nodes))
        # Eigenvalues lie in [0, 2], so that 4 · graph + eigenvalue is sorted over all graphs.
        keys = 4.0 * graph.repeat(self.n_nodes) + self.eigenvalues
        sought = 4.0 * graph[:, None] + (np.asarray(thresholds, dtype=np.float64) + 1e-9).clip(-1, 2.5)
        return np.take_along_axis(curve, np.searchsorted(keys, sought, side="right") - self._start[:, None], axis=1)

    @property
    def _start(self) -> np.ndarray:
        return np.cumsum(self.n_nodes) - self.n_nodes

    def _padded(self, values: np.ndarray) -> np.ndarray:
        """One row a graph, zeros behind."""
        rows = np.zeros((len(self.n_nodes), self.n_nodes.max()))
        rows[np.arange(rows.shape[1]) < self.n_nodes[:, None]] = values
        return rows


def spectral_energy(graphs: Any, signals: Any = None) -> SpectralEnergy:
    r"""The energy of signals at each eigenvalue of the normalised Laplacian.

    Eigenvectors of all graphs of a size are found together. :math:`O(n^3)` a graph: meant for graphs of up to some
    hundred nodes; `smoothed_energy` takes large ones.

    Parameters
    ----------
    graphs, signals
        As in `rayleigh_quotients`.

    Returns
    -------
    SpectralEnergy

    Examples
    --------
    >>> import networkx as nx
    >>> energy = spectral_energy([nx.path_graph(2)], [[1.0], [0.0]])
    >>> energy.eigenvalues.round(6), energy.energy.round(6)
    (array([0., 2.]), array([0.5, 0.5]))
    >>> energy.rayleigh_quotients(), energy.area_above()
    (array([1.]), array([1.]))
    """
    found = as_graph_set(graphs).to("cpu")
    x = _signals(found, signals)
    values, vectors = (tensor.numpy() for tensor in laplacian_eigenpairs(found))
    n_nodes = found.n_nodes.numpy()
    start = np.cumsum(n_nodes) - n_nodes
    eigenvalues, energy = np.empty(x.shape[0]), np.empty(x.shape[0])
    for size in np.unique(n_nodes):
        members = np.flatnonzero(n_nodes == size)
        nodes = start[members][:, None] + np.arange(size)
        signal = x[nodes.ravel()]
        signal = (signal.toarray() if sp.issparse(signal) else signal).reshape(len(members), size, -1)
        at = np.square(vectors[nodes, :size].transpose(0, 2, 1) @ signal).sum(2)
        total = at.sum(1, keepdims=True)
        eigenvalues[nodes] = values[members, :size]
        energy[nodes] = np.divide(at, total, out=np.zeros_like(at), where=total > 0)
    return SpectralEnergy(n_nodes, eigenvalues, energy)


def smoothed_energy(
    graphs: Any, thresholds: Float[np.ndarray, " t"], signals: Any = None, *, n_moments: int = 64
) -> Float[np.ndarray, "graphs t"]:
    r"""The accumulated energy up to each threshold from Chebyshev moments, without eigenvectors.

    .. math::
        \mu_m = \frac{x^T T_m(L - I) x}{x^T x}, \qquad
        E(1 + \cos\theta) \approx 1 - \frac{\theta}{\pi} - \frac{2}{\pi} \sum_{m=1}^{M} g_m \mu_m \frac{\sin m\theta}{m}

    with Jackson's factors g [1]_, which keep the curve monotone and within [0, 1]. A step becomes a slope of width about
    :math:`\pi / M`. Each sparse product, for all graphs at once, gives two moments.

    Parameters
    ----------
    graphs, signals
        As in `rayleigh_quotients`.
    thresholds : array of shape (t,)
        In [0, 2].
    n_moments : int
        M.

    Returns
    -------
    ndarray of shape (graphs, t)

    References
    ----------
    .. [1] A. Weiße, G. Wellein, A. Alvermann, H. Fehske, The kernel polynomial method, Rev. Mod. Phys. 78, 275, 2006.

    Examples
    --------
    >>> import networkx as nx
    >>> smoothed_energy([nx.path_graph(2)], np.array([0.5, 1.0, 1.5]), [[1.0], [0.0]]).round(3)
    array([[0.5, 0.5, 0.5]])
    """
    found = as_graph_set(graphs).to("cpu")
    x = _signals(found, signals)
    n_moments = check_integer(n_moments, "n_moments", minimum=1)
    operator = laplacian(found.adjacency(), "normalised") - sp.eye_array(len(found.batch), format="csr")
    before, last = x, operator @ x
    moments = [_sums(found, before * before).sum(1), _sums(found, before * last).sum(1)]
    while len(moments) <= n_moments:
        moments.append(2 * _sums(found, last * last).sum(1) - moments[0])
        before, last = last, 2 * (operator @ last) - before
        moments.append(2 * _sums(found, before * last).sum(1) - moments[1])
    mu = np.stack(moments[: n_moments + 1], axis=1)
    mu = np.divide(mu, mu[:, :1], out=np.zeros_like(mu), where=mu[:, :1] > 0)
    m, size = np.arange(1, n_moments + 1), n_moments + 2
    jackson = ((size - m) * np.cos(np.pi * m / size) + np.sin(np.pi * m / size) / np.tan(np.pi / size)) / size
    theta = np.arccos(np.clip(np.asarray(thresholds, dtype=np.float64) - 1, -1, 1))
    waves = (2 / np.pi) * (jackson / m)[:, None] * np.sin(m[:, None] * theta)
    return mu[:, :1] * (1 - theta / np.pi) - mu[:, 1:] @ waves


def indicators(types: Int[np.ndarray, "nodes columns"], vocabulary: list[list[int]]) -> sp.csr_array:
    """One column for each type of each column's vocabulary, 1 where a node has it; a type outside it has none."""
    columns = vocabulary_columns(types, vocabulary)
    node, which = np.nonzero(columns >= 0)
    width = sum(map(len, vocabulary))
    entries = (np.ones(len(node)), (node, columns[node, which]))
    return sp.csr_array(sp.coo_array(entries, shape=(len(types), width)))


def vocabulary_columns(
    types: Int[np.ndarray, "nodes columns"], vocabulary: list[list[int]]
) -> Int[np.ndarray, "nodes columns"]:
    """The number of each type's column among the indicators, −1 for one outside the vocabulary."""
    columns = np.empty_like(types)
    first = 0
    for number, known in enumerate(vocabulary):
        place = np.searchsorted(known, types[:, number]).clip(max=len(known) - 1)
        columns[:, number] = np.where(np.take(known, place) == types[:, number], first + place, -1)
        first += len(known)
    return columns


def vocabulary_of(graphs: GraphSet) -> list[list[int]] | None:
    """The types that occur, sorted, one list a column; none of nodes without features, None of measured ones."""
    types = graphs.node_features
    if types is None:
        return []
    return None if types.is_floating_point() else [np.unique(column).tolist() for column in types.numpy().T]


def _signals(graphs: GraphSet, signals: Any) -> Any:
    """The signals as (nodes, C), dense, or sparse where they are indicators of types."""
    if signals is not None:
        x = check_array(signals, "signals", ndim=(1, 2))
        if len(x) != len(graphs.batch):
            raise ValueError(f"signals must have one row a node ({len(graphs.batch)}), got {len(x)}")
        return x.reshape(len(x), -1)
    return node_signals(graphs, vocabulary_of(graphs))


def node_signals(graphs: GraphSet, vocabulary: list[list[int]] | None) -> Any:
    """The nodes' features as signals; a constant where they have none."""
    features = graphs.node_features
    if features is None:
        return np.ones((len(graphs.batch), 1))
    return features.double().numpy() if vocabulary is None else indicators(features.numpy(), vocabulary)


def quadratic_forms(graphs: GraphSet, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """diag(XᵀLX) and diag(XᵀX) of each graph."""
    operator = laplacian(graphs.adjacency(), "normalised")
    return _sums(graphs, x * (operator @ x)).clip(min=0), _sums(graphs, x * x)  # rounding leaves some at -1e-16


def _sums(graphs: GraphSet, rows: Any) -> Float[np.ndarray, "graphs C"]:
    """Sums over the nodes of each graph."""
    n = len(graphs.batch)
    start = np.append(graphs.node_start.numpy(), n)
    total = sp.csr_array((np.ones(n), np.arange(n), start), shape=(len(graphs), n)) @ rows
    return total.toarray() if sp.issparse(total) else total
