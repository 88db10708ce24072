r"""SA-Cluster, the method whose augmentation is used here: k-medoids by random walks on the augmented graph.

Y. Zhou, H. Cheng and J. X. Yu, Graph Clustering Based on Structural/Attribute Similarities, VLDB 2009.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from semigroup.base import check_integer, check_number
from semigroup.graphs.amg_clustering.augmentation import Attributes, augment

__all__ = ["sa_cluster", "walk_closeness"]


def walk_closeness(
    adjacency: sp.csr_array,
    attributes: Attributes,
    weights: Float[np.ndarray, "p"],
    *,
    restart: float = 0.2,
    length: int = 10,
) -> Float[np.ndarray, "n n"]:
    r"""Closeness :math:`R = \sum_{l=1}^{\ell} c (1 - c)^l P^l` of the original vertices, a dense matrix.

    From a vertex of degree d the walk goes to each neighbour with probability :math:`1 / (d + \sum_a w_a)` and to its value of
    attribute a with :math:`w_a / (d + \sum_a w_a)`; from a value to any vertex that has it.
    """
    n = adjacency.shape[0]
    joined = augment(adjacency, attributes).adjacency.tocoo()
    of_attribute = np.repeat(np.arange(len(weights)), attributes.n_values)
    data = np.ones(joined.nnz)
    to_value = joined.col >= n
    data[to_value] = weights[of_attribute[joined.col[to_value] - n]]
    walk = sp.csr_array((data, (joined.row, joined.col)), shape=joined.shape)
    walk = sp.csr_array(sp.diags_array(1 / np.asarray(walk.sum(axis=1)).ravel()) @ walk)
    transposed = walk.T.tocsr()
    place = np.eye(joined.shape[0], n)  # column i is where the walk from i is
    closeness = np.zeros((n, n))
    for step in range(1, length + 1):
        place = transposed @ place
        closeness += restart * (1 - restart) ** step * place[:n].T
    return closeness


def sa_cluster(
    adjacency: sp.csr_array,
    attributes: Attributes,
    n_clusters: int,
    *,
    restart: float = 0.2,
    length: int = 10,
    sigma: float | None = None,
    max_iter: int = 10,
) -> Int[np.ndarray, "n"]:
    r"""Clusters of an attributed graph by SA-Cluster; dense, for graphs of some thousand vertices.

    Parameters
    ----------
    adjacency : csr_array of shape (n, n)
        Undirected; edges count 1 each.
    attributes : Attributes
    n_clusters : int
    restart, length : float, int
        c and :math:`\ell` of the closeness.
    sigma : float, optional
        Of the density :math:`f(i) = \sum_j (1 - e^{-R_{ij}^2 / 2 \sigma^2})` whose largest values are the first medoids; by
        default the standard deviation of R.
    max_iter : int
        Rounds; after each the weight of an attribute goes half way to its share of the votes, the vertices that agree with
        their medoid in it.

    Returns
    -------
    int array of shape (n,)
    """
    n, p = attributes.codes.shape
    n_clusters = check_integer(n_clusters, "n_clusters", minimum=1, maximum=n)
    check_number(restart, "restart", above=0, below=1)
    check_integer(length, "length", minimum=1)
    check_integer(max_iter, "max_iter", minimum=1)
    weights = np.ones(p)
    medoids = np.empty(0, dtype=np.int64)
    labels = np.full(n, -1)
    for _ in range(max_iter):
        closeness = walk_closeness(adjacency, attributes, weights, restart=restart, length=length)
        if not len(medoids):
            width = closeness.std() if sigma is None else sigma
            density = (1 - np.exp(-(closeness**2) / (2 * width**2))).sum(axis=1)
            medoids = np.argsort(-density, kind="stable")[:n_clusters]
        found = closeness[:, medoids].argmax(axis=1)
        found[medoids] = np.arange(n_clusters)
        if (found == labels).all():
            break
        labels = found
        for cluster in range(n_clusters):
            members = np.flatnonzero(labels == cluster)
            rows = closeness[members]
            medoids[cluster] = members[((rows - rows.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        votes = (attributes.codes == attributes.codes[medoids[labels]]).sum(axis=0)
        weights = (weights + p * votes / votes.sum()) / 2
    return labels
