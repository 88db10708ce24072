"""How much the attributes still vary within clusters."""

import numpy as np
from jaxtyping import Int

from semigroup.base import check_choice

__all__ = ["attribute_entropy"]


def attribute_entropy(labels: Int[np.ndarray, "n"], codes: Int[np.ndarray, "n p"], *, over: str = "sum") -> float:
    r"""Entropy of the attributes within clusters, in bits.

    .. math:: H = \sum_c \frac{|c|}{n} \sum_a \Big( -\sum_v p_{cav} \log_2 p_{cav} \Big)

    with the share :math:`p_{cav}` of the value v of attribute a in cluster c. 0 where each cluster has one value of each
    attribute.

    Parameters
    ----------
    labels : int array of shape (n,)
    codes : int array of shape (n, p)
        Numbers of the values; -1 for missing ones, which are left out of the shares.
    over : {'sum', 'mean'}
        The sum over attributes, or their mean as SA-Cluster has it.

    Examples
    --------
    >>> attribute_entropy(np.array([0, 0, 1, 1]), np.array([[0], [1], [1], [1]]))
    0.5
    """
    check_choice(over, "over", ("sum", "mean"))
    cluster = np.unique(labels, return_inverse=True)[1]
    size = np.bincount(cluster)
    total = 0.0
    for values in codes.T:
        table = np.zeros((len(size), int(values.max(initial=0)) + 1))
        present = values >= 0
        np.add.at(table, (cluster[present], values[present]), 1.0)
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        bits = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1)
        total += float(size @ bits) / len(labels)
    return total / codes.shape[1] if over == "mean" else total
