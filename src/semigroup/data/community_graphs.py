"""Real graphs whose nodes have known classes, shipped with the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from semigroup.base import check_choice
from semigroup.data.datasets import shipped

__all__ = ["COMMUNITY_GRAPHS", "CommunityGraph", "community_graph"]

COMMUNITY_GRAPHS = (
    "karate",
    "polbooks",
    "football",
    "sp_school_day_1",
    "news_2cl1",
    "news_2cl2",
    "news_2cl3",
    "news_3cl1_0.1",
    "news_3cl2_0.1",
    "news_3cl3_0.1",
)


@dataclass(frozen=True)
class CommunityGraph:
    """A graph with the class of each node.

    Attributes
    ----------
    adjacency : csr_array of shape (n, n)
        Symmetric; of weights where the graph has them, else of ones.
    labels : int array of shape (n,)
    class_names : ndarray of shape (k,)
    """

    adjacency: sp.csr_array
    labels: np.ndarray
    class_names: np.ndarray


def community_graph(name: str) -> CommunityGraph:
    """One of the shipped graphs: a club, books, football teams, pupils, documents of newsgroups.

    Examples
    --------
    >>> karate = community_graph("karate")
    >>> karate.adjacency.shape, np.bincount(karate.labels).tolist()
    ((34, 34), [16, 18])
    """
    arrays = shipped("community_graphs.npz")
    check_choice(name, "name", COMMUNITY_GRAPHS)
    source, target = arrays[f"{name}/edges"].astype(np.int64).T
    weights = arrays.get(f"{name}/weights", np.ones(len(source))).astype(np.float64)
    n = len(arrays[f"{name}/labels"])
    upper = sp.coo_array((weights, (source, target)), shape=(n, n))
    return CommunityGraph(
        sp.csr_array(upper + upper.T), arrays[f"{name}/labels"].astype(np.int64), arrays[f"{name}/class_names"]
    )
