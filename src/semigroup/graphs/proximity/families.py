r"""Families of proximity measures between the vertices of a graph, each with one parameter p in (0, 1).

Symbols: symmetric adjacency :math:`A` with spectral radius :math:`\rho`, degrees :math:`D`, :math:`L = D - A`,
:math:`S = D^{-1/2} A D^{-1/2}`, :math:`P = D^{-1} A`, edge costs :math:`c_{ij} = 1 / a_{ij}`. A kernel :math:`H` gives the
distance :math:`D_{ij} = \frac12 (h_{ii} + h_{jj} - h_{ij} - h_{ji})`, a distance the kernel :math:`-\frac12 H_c D H_c` with the
centring :math:`H_c = I - \frac1n 11^T`. With "log", every entry of the kernel is replaced by its natural logarithm.

==================  ======================================================================  ==========================
family              kernel or distance                                                      parameter
==================  ======================================================================  ==========================
pWalk, Walk (log)   :math:`(I - tA)^{-1}` (Katz)                                            :math:`t = p / \rho`
For, logFor         :math:`(I + tL)^{-1}` (regularised Laplacian)                           :math:`t = p / (2 (1 - p))`
Comm, logComm       :math:`e^{tA}`; the distance is the root of D                           the same
Heat, logHeat       :math:`e^{-tL}`                                                         the same
SCT                 :math:`1 / (1 + e^{-t L^+ / \sigma})`, by entries                       the same
SCCT                the same of the corrected commute-time kernel CCT                       the same
RSP, FE             randomised shortest paths, free energy (distances)                      :math:`\beta = (1 - p) / p`
SP-CT               p SP + (1 - p) CT (distance)                                            p
CT, CCT, SP         :math:`L^+` (commute time), corrected commute time, shortest path       none
NHeat, logNHeat     :math:`e^{-t (I - S)}`                                                  :math:`t = p / (2 (1 - p))`
HeatPR, logHeatPR   :math:`e^{-t (I - P)}`                                                  the same
DF, logDF           :math:`\sum_k (tA)^k / k!!`                                             the same
PPR, logPPR         :math:`(I - pP)^{-1}`                                                   p
ModifPPR, log...    :math:`(D - pA)^{-1}`                                                   p
Abs, logAbs         :math:`(pA + L)^{-1}`                                                   p
==================  ======================================================================  ==========================

What is shared. Exponentials and pseudo-inverses come from one eigendecomposition of A, of L or of S, made when first needed and
kept by `Spectra`. The resolvents are inverses of symmetric M-matrices (:math:`I - tA`, :math:`I + tL`, :math:`D - B`), whose
Cholesky factorisation subtracts nothing off the diagonal: every entry of the inverse, however small, has its leading
digits right, which its logarithm needs. An exponential from eigenpairs is right up to 1e-15 of its largest eigenvalue only; where
an entry is so small that this would show in its logarithm, it is computed anew without subtractions
(`semigroup.operators.heat`, method ``'positive'``).

Two identities make RSP and FE as cheap as a resolvent. With :math:`B = A \circ e^{-\beta C}` and :math:`G = (D - B)^{-1}`, the
papers' :math:`Z = (I - D^{-1} B)^{-1}` is :math:`G D`, so that FE is
:math:`-\frac1\beta (\ln g_{ij} - \frac12 \ln g_{ii} - \frac12 \ln g_{jj})`, a logarithmic measure itself; and
:math:`Z (C \circ W) Z \div Z` is the symmetric :math:`G E G \div G` with :math:`E = C \circ B`.

References
----------
- V. Ivashkin, P. Chebotarev, "Do logarithmic proximity measures outperform plain ones in graph clustering?", arXiv:1605.01046.
- P. Chebotarev, "A class of graph-geodetic distances generalizing the shortest-path and the resistance distances",
  arXiv:0810.2717; "The walk distances in graphs", arXiv:1103.2059; "Studying new classes of graph metrics", arXiv:1305.7514.
- I. Kivimäki, M. Shimbo, M. Saerens, "Developments in the theory of randomized shortest paths with a comparison of graph node
  distances", arXiv:1212.1666.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from semigroup.base import check_choice, check_device, check_number
from semigroup.operators import as_graph, check_connected, heat, laplacian

__all__ = [
    "FAMILIES",
    "STUDY_FAMILIES",
    "Family",
    "Proximity",
    "Spectra",
    "absorption",
    "communicability",
    "corrected_commute_time",
    "distance_of_kernel",
    "double_factorial",
    "forest",
    "free_energy",
    "heat_kernel",
    "heat_pagerank",
    "kernel_of_distance",
    "modified_pagerank",
    "normalised_heat",
    "pagerank_kernel",
    "parameter_of",
    "proximity",
    "randomised_shortest_paths",
    "sigmoid",
    "walk",
]

# An entry below this share of the kernel's largest eigenvalue would carry a relative rounding error above some 1e-6.
LEAST = 1e-9
UNDERFLOW = 1e-280
MAX_TERMS = 2000
Matrix = Float[Tensor, "n n"]


class Spectra:
    """A connected graph and what its measures share: each part is computed when first needed, and kept.

    Parameters
    ----------
    graph : Graph, sparse or dense matrix, networkx graph, PyG ``Data`` or edge list
        Undirected, connected, weights >= 0, at least two nodes.
    device : str
        Where torch computes; double precision.

    Raises
    ------
    ValueError
        If the graph is asymmetric, disconnected, has one node only, or weights that are negative or not finite; if torch
        cannot compute on the device.

    Examples
    --------
    >>> chain = Spectra(np.array([[0, 1], [1, 2], [2, 3]]))
    >>> round(chain.radius, 4)
    1.618
    """

    def __init__(self, graph: Any, device: str | torch.device = "cpu") -> None:
        self.graph = as_graph(graph, directed=False)
        if self.graph.n_nodes < 2:
            raise ValueError(f"graph must have at least 2 nodes, got {self.graph.n_nodes}")
        check_connected(self.graph)
        self.device = check_device(device)
        self._last: dict[tuple[str, bool], tuple[float, Tensor]] = {}

    def __repr__(self) -> str:
        return f"Spectra({self.n_nodes} nodes, {self.graph.adjacency.nnz // 2} edges, on {self.device})"

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return self.graph.n_nodes

    @cached_property
    def adjacency(self) -> Matrix:
        """A, dense."""
        return torch.as_tensor(self.graph.adjacency.toarray(), device=self.device)

    @cached_property
    def degree(self) -> Float[Tensor, " n"]:
        """Row sums of A."""
        return self.adjacency.sum(dim=1)

    @cached_property
    def adjacency_pairs(self) -> tuple[Float[Tensor, " n"], Matrix]:
        """Eigenvalues, ascending, and eigenvectors of A."""
        values, vectors = torch.linalg.eigh(self.adjacency)
        return values, vectors

    @cached_property
    def laplacian_pairs(self) -> tuple[Float[Tensor, " n"], Matrix]:
        """Of L; the first eigenvalue is an exact zero."""
        values, vectors = torch.linalg.eigh(torch.diag(self.degree) - self.adjacency)
        values[0] = 0.0
        return values, vectors

    @cached_property
    def normalised_pairs(self) -> tuple[Float[Tensor, " n"], Matrix]:
        """Of S; the last eigenvalue is an exact one."""
        root = self.degree.rsqrt()
        values, vectors = torch.linalg.eigh(root[:, None] * self.adjacency * root)
        values[-1] = 1.0
        return values, vectors

    @property
    def radius(self) -> float:
        """The spectral radius of A, its largest eigenvalue by Perron and Frobenius."""
        return float(self.adjacency_pairs[0][-1])

    @cached_property
    def pseudoinverse(self) -> Matrix:
        """L⁺."""
        values, vectors = self.laplacian_pairs
        return (vectors[:, 1:] / values[1:]) @ vectors[:, 1:].T

    @cached_property
    def corrected(self) -> Matrix:
        """The corrected commute-time kernel, `corrected_commute_time`."""
        return corrected_commute_time(self)

    @cached_property
    def commute_time(self) -> Matrix:
        """Commute times: resistance times the sum of all degrees."""
        return 2 * self.degree.sum() * distance_of_kernel(self.pseudoinverse)

    @cached_property
    def shortest_paths(self) -> Matrix:
        """Lengths of the shortest paths where an edge costs one over its weight."""
        costs = self.graph.adjacency.copy()
        costs.data = 1 / costs.data
        lengths = shortest_path(costs, directed=False)
        return torch.as_tensor((lengths + lengths.T) / 2, device=self.device)  # sums of another order round otherwise

    def kernel(self, function: Callable[..., Matrix], t: float, entrywise: bool = False) -> Matrix:
        """The kernel of a parameter; the last one of each function is kept, for the measures that are made of the same."""
        key = (function.__name__, entrywise)
        if key not in self._last or self._last[key][0] != t:
            self._last[key] = (t, function(self, t, entrywise=True) if entrywise else function(self, t))
        return self._last[key][1]


def _function_of(pairs: tuple[Float[Tensor, " n"], Matrix], values: Float[Tensor, " n"]) -> Matrix:
    vectors = pairs[1]
    return (vectors * values) @ vectors.T


def _inverse(matrix: Matrix) -> Matrix:
    """Of a symmetric positive definite M-matrix, every entry to relative accuracy."""
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix))


# --- kernels -------------------------------------------------------------------------------------------------------


def walk(graph: Spectra, t: float) -> Matrix:
    r"""Katz's kernel :math:`(I - tA)^{-1} = \sum_k t^k A^k`, 0 < t < 1/ρ: walks, each edge of which costs a factor t.

    Raises
    ------
    ValueError
        If t is not below one over the spectral radius.

    Examples
    --------
    >>> walk(Spectra(np.array([[0, 1], [1, 2]])), 0.5).numpy().round(3)
    array([[1.5, 1. , 0.5],
           [1. , 2. , 1. ],
           [0.5, 1. , 1.5]])
    """
    check_number(t, "t", above=0, below=1 / graph.radius)
    return _inverse(_identity(graph) - t * graph.adjacency)


def forest(graph: Spectra, t: float) -> Matrix:
    r""":math:`(I + tL)^{-1}`: share of the weight of rooted spanning forests in which i lies in the tree rooted at j.

    Examples
    --------
    >>> forest(Spectra(np.array([[0, 1]])), 1.0).numpy().round(4)
    array([[0.6667, 0.3333],
           [0.3333, 0.6667]])
    """
    check_number(t, "t", above=0)
    return _inverse(_identity(graph) + t * (torch.diag(graph.degree) - graph.adjacency))


def communicability(graph: Spectra, t: float, *, entrywise: bool = False) -> Matrix:
    r""":math:`e^{-t\rho} e^{tA}`, Estrada's communicability up to a factor that keeps it from overflowing.

    The factor changes no clustering, and no logarithmic distance. `entrywise` makes every entry right to relative accuracy.
    """
    check_number(t, "t", above=0)
    if entrywise:
        return _without_subtraction(graph, graph.radius * _identity(graph) - graph.adjacency, t)
    return _function_of(graph.adjacency_pairs, torch.exp(t * (graph.adjacency_pairs[0] - graph.radius)))


def heat_kernel(graph: Spectra, t: float, *, entrywise: bool = False) -> Matrix:
    r""":math:`e^{-tL}`; `entrywise` makes every entry right to relative accuracy."""
    check_number(t, "t", above=0)
    if entrywise:
        return _without_subtraction(graph, torch.diag(graph.degree) - graph.adjacency, t)
    return _function_of(graph.laplacian_pairs, torch.exp(-t * graph.laplacian_pairs[0]))


def normalised_heat(graph: Spectra, t: float, *, entrywise: bool = False) -> Matrix:
    r""":math:`e^{-t (I - S)}`; `entrywise` makes every entry right to relative accuracy."""
    check_number(t, "t", above=0)
    if entrywise:
        operator = laplacian(graph.graph.adjacency, "normalised").toarray()
        return _without_subtraction(graph, torch.as_tensor(operator), t)
    return _function_of(graph.normalised_pairs, torch.exp(t * (graph.normalised_pairs[0] - 1)))


def heat_pagerank(graph: Spectra, t: float, *, entrywise: bool = False) -> Matrix:
    r""":math:`e^{-t (I - P)} = D^{-1/2} e^{-t (I - S)} D^{1/2}`, not symmetric."""
    root = graph.degree.sqrt()
    return graph.kernel(normalised_heat, t, entrywise) * root / root[:, None]


def double_factorial(graph: Spectra, t: float, *, entrywise: bool = False) -> Matrix:
    r""":math:`e^{-(t\rho)^2/2} \sum_k (tA)^k / k!!`, longer walks counting more than in the exponential.

    In closed form :math:`\sum_k x^k / k!! = e^{x^2/2} (1 + \sqrt{\pi/2}\, \mathrm{erf}(x / \sqrt2))`; the factor keeps it from
    overflowing. `entrywise` sums the series, whose length grows with :math:`(t\rho)^2`; where that is above 2000, entries below
    rounding errors are cut off there instead, with a warning.
    """
    check_number(t, "t", above=0)
    largest = t * graph.radius
    if entrywise and largest**2 > MAX_TERMS:
        warnings.warn(
            f"at t = {t:g} entries of the double factorial below 1e-15 of its norm are cut off there", stacklevel=2
        )
        return double_factorial(graph, t).clamp(min=1e-15)
    if not entrywise:
        x = t * graph.adjacency_pairs[0]
        values = torch.exp((x**2 - largest**2) / 2) * (1 + np.sqrt(np.pi / 2) * torch.erf(x / np.sqrt(2)))
        return _function_of(graph.adjacency_pairs, values)
    step = t * graph.adjacency
    terms, k = [_identity(graph), step], 1
    total = terms[0] + terms[1]
    # Walks of n steps reach every node; the terms fall once k exceeds the square of the radius.
    while k < largest**2 or (terms[0] + terms[1] > 1e-17 * total).any():
        k += 1
        terms = [terms[1], step @ (step @ terms[0]) / k]
        total += terms[1]
    return total * np.exp(-(largest**2) / 2)


def modified_pagerank(graph: Spectra, alpha: float) -> Matrix:
    r""":math:`(D - \alpha A)^{-1}`, 0 < α < 1."""
    check_number(alpha, "alpha", above=0, below=1)
    return _inverse(torch.diag(graph.degree) - alpha * graph.adjacency)


def pagerank_kernel(graph: Spectra, alpha: float) -> Matrix:
    r""":math:`(I - \alpha P)^{-1} = (D - \alpha A)^{-1} D`, not symmetric."""
    return graph.kernel(modified_pagerank, alpha) * graph.degree


def absorption(graph: Spectra, t: float) -> Matrix:
    r""":math:`(tA + L)^{-1}`, 0 < t < 1, which is `modified_pagerank` of 1 - t.

    At t = 1 the kernel is diagonal, and beyond it has entries below zero.
    """
    check_number(t, "t", above=0, below=1)
    return graph.kernel(modified_pagerank, 1 - t)


def corrected_commute_time(graph: Spectra) -> Matrix:
    r""":math:`H_c D^{-1/2} M (I - M)^+ M D^{-1/2} H_c` with :math:`M = D^{-1/2} (A - d d^T / \mathrm{vol}) D^{-1/2}`.

    M is S without its first eigenpair, so one decomposition of S gives it. Luxburg's correction takes out of the commute
    time what depends on the two degrees only.
    """
    values, vectors = graph.normalised_pairs
    values, vectors = values[:-1], vectors[:, :-1] * graph.degree.rsqrt()[:, None]
    vectors = vectors - vectors.mean(dim=0)
    return (vectors * (values**2 / (1 - values))) @ vectors.T


def sigmoid(kernel: Matrix, t: float) -> Matrix:
    r""":math:`1 / (1 + e^{-t k_{ij} / \sigma})` with σ the standard deviation of all entries."""
    check_number(t, "t", above=0)
    return torch.sigmoid(t * kernel / kernel.std(correction=0))


def _identity(graph: Spectra) -> Matrix:
    return torch.eye(graph.n_nodes, dtype=torch.float64, device=graph.device)


def _without_subtraction(graph: Spectra, operator: Matrix, t: float) -> Matrix:
    return torch.as_tensor(heat(operator.cpu().numpy(), t, method="positive"), device=graph.device)


# --- distances -----------------------------------------------------------------------------------------------------


def free_energy(graph: Spectra, beta: float) -> Matrix:
    r"""Free-energy distance at inverse temperature β; shortest paths for β → ∞, commute times (scaled) for β → 0.

    Pairs whose :math:`g_{ij}` is below the range of floating-point numbers get the limit, with a warning.
    """
    log_g = torch.log(graph.kernel(_visits, beta).clamp(min=UNDERFLOW))
    diagonal = log_g.diagonal()
    distance = ((diagonal[:, None] + diagonal) / 2 - log_g) / beta
    return _hollow(_limit_where_underflown(graph, distance, beta))


def randomised_shortest_paths(graph: Spectra, beta: float) -> Matrix:
    r"""Expected cost of a path drawn with probability :math:`\propto e^{-\beta\,\mathrm{cost}}` times that of the walk.

    It is the derivative by β of β times the free energy. Symmetric, but no metric: triangles may fail. The limits, and what
    is done at their ends, are those of `free_energy`.
    """
    visits = graph.kernel(_visits, beta)
    adjacency = graph.adjacency
    spent = torch.where(adjacency > 0, torch.exp(-beta / adjacency), 0.0)  # E = C ∘ B, as c a = 1 on every edge
    cost = visits @ spent @ visits / visits.clamp(min=UNDERFLOW)
    diagonal = cost.diagonal()
    return _hollow(_limit_where_underflown(graph, cost - (diagonal[:, None] + diagonal) / 2, beta))


def _visits(graph: Spectra, beta: float) -> Matrix:
    """G = (D - A ∘ exp(-β C))⁻¹."""
    check_number(beta, "beta", above=0)
    adjacency = graph.adjacency
    kept = torch.where(adjacency > 0, adjacency * torch.exp(-beta / adjacency), 0.0)
    return _inverse(torch.diag(graph.degree) - kept)


def _limit_where_underflown(graph: Spectra, distance: Matrix, beta: float) -> Matrix:
    lost = graph.kernel(_visits, beta) <= UNDERFLOW
    if not lost.any():
        return distance
    warnings.warn(
        f"at beta = {beta:g} the probabilities of {int(lost.sum()) // 2} pairs are below the range of numbers; "
        "they get the limit, the shortest path's length",
        stacklevel=3,
    )
    return torch.where(lost, graph.shortest_paths, distance)


def _hollow(distance: Matrix) -> Matrix:
    """A symmetric copy whose diagonal is zero."""
    distance = (distance + distance.T) / 2
    return distance.fill_diagonal_(0.0)


def distance_of_kernel(kernel: Matrix) -> Matrix:
    r""":math:`\frac12 (h_{ii} + h_{jj} - h_{ij} - h_{ji})`.

    Examples
    --------
    >>> distance_of_kernel(torch.tensor([[2.0, 0.5], [0.5, 1.0]]))
    tensor([[0., 1.],
            [1., 0.]])
    """
    diagonal = kernel.diagonal()
    return _hollow((diagonal[:, None] + diagonal) / 2 - kernel)


def kernel_of_distance(distance: Matrix) -> Matrix:
    r""":math:`-\frac12 H_c D H_c`, the Gram matrix of points whose squared distances are D, if there are any.

    Examples
    --------
    >>> kernel_of_distance(torch.tensor([[0.0, 4.0], [4.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    means = distance.mean(dim=0)
    return -(distance - means - distance.mean(dim=1)[:, None] + means.mean()) / 2


# --- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A measure with its parameter.

    Attributes
    ----------
    name : str
    parameter : {'walk', 'fraction', 'reversed', 'linear', 'none'}
        How p gives t: p/ρ, p/(2(1-p)), (1-p)/p, p, or not at all.
    measure : callable
        Takes a `Spectra` and t, gives a kernel, or a distance if `is_distance`.
    is_distance : bool
    is_root : bool
        Whether the root of the kernel's D is the distance (Estrada's convention).
    """

    name: str
    parameter: Literal["walk", "fraction", "reversed", "linear", "none"]
    measure: Callable[[Spectra, float], Matrix]
    is_distance: bool = False
    is_root: bool = False

    @property
    def has_parameter(self) -> bool:
        """Whether p matters."""
        return self.parameter != "none"


@dataclass(frozen=True)
class Proximity:
    """A measure of all pairs of nodes.

    Attributes
    ----------
    kernel : array of shape (n, n)
        Symmetric; the larger, the nearer. The centred one of the distance where the family is one of distances.
    distance : array of shape (n, n)
        Symmetric, zero diagonal; the root of the kernel's D for Comm and logComm.
    parameter : float or None
        t, β or α.
    """

    kernel: Float[np.ndarray, "n n"]
    distance: Float[np.ndarray, "n n"]
    parameter: float | None


def _plain(function: Callable[..., Matrix]) -> Callable[[Spectra, float], Matrix]:
    return lambda graph, t: graph.kernel(function, t)


def _log(function: Callable[..., Matrix], *, from_pairs: bool = False) -> Callable[[Spectra, float], Matrix]:
    """Logarithm of every entry; of those of a kernel from eigenpairs only where they are large enough to be right."""

    def measure(graph: Spectra, t: float) -> Matrix:
        kernel = graph.kernel(function, t)
        if from_pairs and kernel.min() < LEAST:
            kernel = graph.kernel(function, t, entrywise=True)
        if kernel.min() <= 1e-300:
            warnings.warn(
                f"at parameter {t:g} entries of the kernel are below the range of numbers and are taken as 1e-300; "
                "a larger p reaches these pairs of nodes",
                stacklevel=2,
            )
        return torch.log(kernel.clamp(min=1e-300))

    return measure


def _shortest_and_commute(graph: Spectra, p: float, scale: str = "mean") -> Matrix:
    paths, times = graph.shortest_paths, graph.commute_time
    if scale == "mean":
        paths, times = paths / paths.mean(), times / times.mean()
    return p * paths + (1 - p) * times


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("pWalk", "walk", _plain(walk)),
        Family("Walk", "walk", _log(walk)),
        Family("For", "fraction", _plain(forest)),
        Family("logFor", "fraction", _log(forest)),
        Family("Comm", "fraction", _plain(communicability), is_root=True),
        Family("logComm", "fraction", _log(communicability, from_pairs=True), is_root=True),
        Family("Heat", "fraction", _plain(heat_kernel)),
        Family("logHeat", "fraction", _log(heat_kernel, from_pairs=True)),
        Family("SCT", "fraction", lambda graph, t: sigmoid(graph.pseudoinverse, t)),
        Family("SCCT", "fraction", lambda graph, t: sigmoid(graph.corrected, t)),
        Family("RSP", "reversed", randomised_shortest_paths, is_distance=True),
        Family("FE", "reversed", free_energy, is_distance=True),
        Family("SP-CT", "linear", _shortest_and_commute, is_distance=True),
        Family("CT", "none", lambda graph, t: graph.pseudoinverse),
        Family("CCT", "none", lambda graph, t: graph.corrected),
        Family("SP", "none", lambda graph, t: graph.shortest_paths, is_distance=True),
        Family("NHeat", "fraction", _plain(normalised_heat)),
        Family("logNHeat", "fraction", _log(normalised_heat, from_pairs=True)),
        Family("HeatPR", "fraction", _plain(heat_pagerank)),
        Family("logHeatPR", "fraction", _log(heat_pagerank, from_pairs=True)),
        Family("DF", "fraction", _plain(double_factorial)),
        Family("logDF", "fraction", _log(double_factorial, from_pairs=True)),
        Family("PPR", "linear", _plain(pagerank_kernel)),
        Family("logPPR", "linear", _log(pagerank_kernel)),
        Family("ModifPPR", "linear", _plain(modified_pagerank)),
        Family("logModifPPR", "linear", _log(modified_pagerank)),
        Family("Abs", "linear", _plain(absorption)),
        Family("logAbs", "linear", _log(absorption)),
    )
}

STUDY_FAMILIES = tuple(list(FAMILIES)[:13])


def parameter_of(family: str, p: float | None, graph: Spectra) -> float | None:
    """The family's own parameter (t, β, α) at p in (0, 1); None for a family without any.

    Raises
    ------
    ValueError
        If the family is not known, or p is not strictly between 0 and 1.

    Examples
    --------
    >>> parameter_of("logComm", 0.5, Spectra(np.array([[0, 1]])))
    0.5
    """
    kind = FAMILIES[check_choice(family, "family", tuple(FAMILIES))].parameter
    if kind == "none":
        return None
    p = check_number(p, "p", above=0, below=1)
    if kind == "walk":
        return p / graph.radius
    if kind == "fraction":
        return p / 2 / (1 - p)
    return (1 - p) / p if kind == "reversed" else p


def proximity(
    graph: Any,
    family: str = "logComm",
    p: float | None = 0.5,
    *,
    scale: Literal["mean", "none"] = "mean",
    device: str | torch.device = "cpu",
) -> Proximity:
    """Kernel and distance of a family at p.

    Parameters
    ----------
    graph : Spectra, or a graph in any form that `Spectra` takes
        Give a `Spectra` to share its decompositions between calls.
    family : str
        A name of the module's table.
    p : float
        In (0, 1); not used by CT, CCT and SP.
    scale : {'mean', 'none'}
        Of SP-CT: whether both distances are divided by their mean first; without, commute times outweigh the paths.
    device : str

    Returns
    -------
    Proximity

    Examples
    --------
    Log forest distances add up where a vertex separates two others, as vertex 1 of a chain does.

    >>> distance = proximity(np.array([[0, 1], [1, 2], [2, 3]]), "logFor", 0.8).distance
    >>> bool(np.isclose(distance[0, 1] + distance[1, 3], distance[0, 3]))
    True
    """
    shared = graph if isinstance(graph, Spectra) else Spectra(graph, device)
    check_choice(scale, "scale", ("mean", "none"))
    parameter = parameter_of(family, p, shared)
    row = FAMILIES[family]
    t = 0.0 if parameter is None else parameter
    measured = _shortest_and_commute(shared, t, scale) if family == "SP-CT" else row.measure(shared, t)
    if row.is_distance:
        kernel, distance = kernel_of_distance(measured), measured
    else:
        kernel, distance = (measured + measured.T) / 2, distance_of_kernel(measured)
        if family == "CT":
            distance = shared.commute_time
    if row.is_root:
        distance = distance.clamp(min=0).sqrt()
    return Proximity(kernel.cpu().numpy(), distance.cpu().numpy(), parameter)
