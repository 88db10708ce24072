"""Ground floor: graphs, their Laplacians and transition matrices, topologies of networks. Knows nothing of methods."""

from semigroup.operators.graph import Graph, as_graph
from semigroup.operators.laplacian import laplacian, transition_matrix

__all__ = ["Graph", "as_graph", "laplacian", "transition_matrix"]
