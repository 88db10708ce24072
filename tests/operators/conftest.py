"""A graph too large to be made dense."""

import numpy as np
import pytest
import scipy.sparse as sp


@pytest.fixture(scope="session")
def big_graph():
    """100,000 nodes, a cycle through all of them and 400,000 random edges: a million entries."""
    n = 100_000
    generator = np.random.default_rng(0)
    source = np.concatenate([np.arange(n), generator.integers(n, size=400_000)])
    target = np.concatenate([(np.arange(n) + 1) % n, generator.integers(n, size=400_000)])
    half = sp.coo_array((np.ones(len(source)), (source, target)), shape=(n, n))
    adjacency = sp.csr_array(half + half.T)
    adjacency.setdiag(0)
    adjacency.eliminate_zeros()
    return adjacency
