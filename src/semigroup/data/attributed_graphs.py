"""Graphs whose vertices have categorical attributes: small real ones that are shipped, and random ones with a known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from semigroup.base import check_choice, check_integer, check_number, numpy_generator
from semigroup.data.datasets import shipped
from semigroup.data.random_graphs import planted_partition

__all__ = ["ATTRIBUTED_GRAPHS", "AttributedGraph", "attributed_blocks", "attributed_graph"]

ATTRIBUTED_GRAPHS = ("lawyers_advice", "lawyers_friendship", "blocks")
_COLUMNS = {
    "lawyers": ("status", "gender", "office", "seniority", "age", "practice", "school"),
    "blocks": ("block",),
}


@dataclass(frozen=True)
class AttributedGraph:
    """A graph with attributes.

    Attributes
    ----------
    adjacency : csr_array of shape (n, n)
        Symmetric, entries 1.
    attributes : DataFrame of n rows
        Numbers of categories.
    classes : int array of shape (n,) or None
        The truth, where there is one.
    """

    adjacency: sp.csr_array
    attributes: pd.DataFrame
    classes: np.ndarray | None = None


def attributed_graph(name: str) -> AttributedGraph:
    """One of the shipped graphs: advice or friendship in a law firm, or a block model with its blocks.

    Examples
    --------
    >>> firm = attributed_graph("lawyers_friendship")
    >>> firm.adjacency.shape, list(firm.attributes)[:3]
    ((36, 36), ['status', 'gender', 'office'])
    """
    check_choice(name, "name", ATTRIBUTED_GRAPHS)
    arrays = shipped("attributed_graphs.npz")
    source, target = arrays[f"{name}/edges"].astype(np.int64).T
    codes = arrays[f"{name}/attributes"].astype(np.int64)
    ends = (np.concatenate([source, target]), np.concatenate([target, source]))
    adjacency = sp.csr_array(sp.coo_array((np.ones(len(ends[0])), ends), shape=(len(codes), len(codes))))
    return AttributedGraph(adjacency, pd.DataFrame(codes, columns=list(_COLUMNS[name.partition("_")[0]])))


def attributed_blocks(
    n_nodes: int,
    n_classes: int,
    *,
    mean_degree: float = 8.0,
    mixing: float = 0.2,
    n_attributes: int = 1,
    agreement: float = 0.6,
    random_state: int | np.random.Generator | None = None,
) -> AttributedGraph:
    r"""The largest component of a planted partition whose attributes say the class with some probability.

    Parameters
    ----------
    n_nodes, n_classes : int
        Before the restriction to the largest component.
    mean_degree : float
        c; the probabilities of edges are :math:`c_{in}/n` within classes and :math:`c_{out}/n` between them, with
        :math:`c_{in} = c q / (1 + (q - 1) \epsilon)`.
    mixing : float
        :math:`\epsilon = c_{out} / c_{in}`: 0 separates the classes, 1 tells nothing of them.
    n_attributes : int
    agreement : float
        Probability with which an attribute of a vertex is its class; else it is uniform over the classes.
    random_state : int, Generator or None

    Examples
    --------
    >>> graph = attributed_blocks(100, 4, n_attributes=2, random_state=0)
    >>> graph.attributes.shape == (len(graph.classes), 2)
    True
    """
    check_integer(n_attributes, "n_attributes", minimum=1)
    check_number(agreement, "agreement", minimum=0, maximum=1)
    check_number(mixing, "mixing", minimum=0, maximum=1)
    generator = numpy_generator(random_state)
    inside = check_number(mean_degree, "mean_degree", above=0) * n_classes / (1 + (n_classes - 1) * mixing) / n_nodes
    graph = planted_partition(n_nodes, n_classes, inside, mixing * inside, connected=False, random_state=generator)
    component = connected_components(graph.adjacency, directed=False)[1]
    kept = np.flatnonzero(component == np.bincount(component).argmax())
    classes = graph.labels[kept]
    shape = (len(kept), n_attributes)
    agrees = generator.random(shape) < agreement
    codes = np.where(agrees, classes[:, None], generator.integers(n_classes, size=shape))
    adjacency = sp.csr_array(graph.adjacency[kept][:, kept])
    adjacency.sort_indices()
    return AttributedGraph(adjacency, pd.DataFrame(codes, columns=[f"a{i + 1}" for i in range(n_attributes)]), classes)
