"""How good a partition of a graph's nodes is, from the graph alone."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from semigroup.base import check_number

__all__ = ["modularity"]


def modularity(adjacency: sp.csr_array, labels: np.ndarray, *, resolution: float = 1.0) -> float:
    r"""Newman's modularity, :math:`Q = \frac{1}{w} \sum_{ij} (A_{ij} - \gamma \frac{d_i d'_j}{w}) [c_i = c_j]`.

    The share of the weight within clusters, minus what it would be if the edges were laid at random between nodes of the
    same degrees. One pass over the edges.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
        Weights >= 0; of a directed graph :math:`d` are the out-degrees and :math:`d'` the in-degrees.
    labels : array of shape (n,)
        Cluster of each node, in any numbers or words.
    resolution : float
        :math:`\gamma`; above 1 favours smaller clusters.

    Returns
    -------
    float
        Between -1/2 and 1; 0 for a single cluster at resolution 1.

    Raises
    ------
    ValueError
        If the labels are not as many as the nodes, or the graph has no edges.

    References
    ----------
    M. E. J. Newman, Modularity and community structure in networks, PNAS 103, 2006.

    Examples
    --------
    >>> two_edges = sp.csr_array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=float)
    >>> modularity(two_edges, np.array([0, 0, 1, 1]))
    0.5
    """
    labels = np.asarray(labels)
    if labels.shape != (adjacency.shape[0],):
        raise ValueError(f"labels must have shape ({adjacency.shape[0]},), one a node, got {labels.shape}")
    resolution = check_number(resolution, "resolution", minimum=0)
    edges = sp.coo_array(adjacency)
    total = edges.data.sum()
    if total <= 0:
        raise ValueError("adjacency has no edges, and modularity is not defined without any")
    cluster = np.unique(labels, return_inverse=True)[1]
    within = edges.data[cluster[edges.row] == cluster[edges.col]].sum()
    n_clusters = int(cluster.max()) + 1
    out = np.bincount(cluster[edges.row], weights=edges.data, minlength=n_clusters)
    into = np.bincount(cluster[edges.col], weights=edges.data, minlength=n_clusters)
    return float(within / total - resolution * (out / total) @ (into / total))
