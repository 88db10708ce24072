"""Ground floor: graphs, Laplacians, functions of them, walks, topologies of networks. Knows nothing of methods."""

from semigroup.operators.connection import connection_laplacian, parallel_transport, tangent_frames
from semigroup.operators.farthest import diameter, farthest_points
from semigroup.operators.graph import Graph, as_graph, check_connected
from semigroup.operators.heat import heat
from semigroup.operators.laplacian import laplacian, transition_matrix
from semigroup.operators.neighbours import (
    common_offset,
    geodesic_neighbours,
    neighbour_graph,
    normalise_density,
    shortest_path_distances,
)
from semigroup.operators.partition import modularity
from semigroup.operators.resolvent import resolvent
from semigroup.operators.spectrum import Eigenpairs, canonical_basis, eigenpairs, spectral_interval
from semigroup.operators.walks import lazy, metropolis_hastings, random_walks

__all__ = [
    "Eigenpairs",
    "Graph",
    "as_graph",
    "canonical_basis",
    "check_connected",
    "common_offset",
    "connection_laplacian",
    "diameter",
    "eigenpairs",
    "farthest_points",
    "geodesic_neighbours",
    "heat",
    "laplacian",
    "lazy",
    "metropolis_hastings",
    "modularity",
    "neighbour_graph",
    "normalise_density",
    "parallel_transport",
    "random_walks",
    "resolvent",
    "shortest_path_distances",
    "spectral_interval",
    "tangent_frames",
    "transition_matrix",
]
