r"""Clustering of attributed graphs by bootstrap algebraic multigrid.

For analysts of networks whose vertices carry categories: structure and attributes are fused before clustering, at a cost linear
in the edges. The values of the attributes become vertices, joined to those that have them (`augment`). For the Laplacian of that
graph, made positive definite at one edge (`shifted_laplacian`), multigrid hierarchies are built one after the other, each for the
error that the ones before cannot remove (`bootstrap`). These errors are the embedding (`embed`); a vertex is compared with
another together with its attributes, as a block (`block_coordinates`), by K-means whose restarts are judged by modularity
(`kmeans`, `best_partition`). The hierarchies are also a solver: `Composite.as_preconditioner`.

P. D'Ambra, P. S. Vassilevski and L. Cutillo, Extending Bootstrap AMG for Clustering of Attributed Graphs, Applied Mathematics and
Computation 447, 2023, arXiv:2109.09367.

=====================  ==========================================  ======================================
here                   what it is                                  the paper and its programs
=====================  ==========================================  ======================================
``matrix``             shifted Laplacian of the augmented graph    :math:`A`
``w``                  smooth vector                               :math:`w`
``prolongator``        from coarse to fine                         :math:`P`
``hierarchies``        multigrid operators                         :math:`B_1, \dots, B_r`
``smooth_vectors``     columns :math:`w_0, \dots, w_r`             :math:`W`
``ratios``             convergence ratio with 1, ..., r of them    :math:`\rho`
``embedding``          left singular vectors of `smooth_vectors`   :math:`U`
=====================  ==========================================  ======================================
"""

from semigroup.graphs.amg_clustering.augmentation import (
    Attributes,
    AugmentedGraph,
    augment,
    encode_attributes,
    shifted_laplacian,
)
from semigroup.graphs.amg_clustering.bootstrap import Bootstrap, Composite, bootstrap, energy_norm
from semigroup.graphs.amg_clustering.estimator import BootstrapAMGClustering
from semigroup.graphs.amg_clustering.hierarchy import (
    Hierarchy,
    HierarchyOptions,
    build_hierarchy,
    pairwise_prolongator,
)
from semigroup.graphs.amg_clustering.kmeans import best_partition, block_coordinates, embed, kmeans
from semigroup.graphs.amg_clustering.matching import Edges, compatible_edges, match
from semigroup.graphs.amg_clustering.sa_cluster import sa_cluster, walk_closeness
from semigroup.graphs.amg_clustering.scores import attribute_entropy

__all__ = [
    "Attributes",
    "AugmentedGraph",
    "Bootstrap",
    "BootstrapAMGClustering",
    "Composite",
    "Edges",
    "Hierarchy",
    "HierarchyOptions",
    "attribute_entropy",
    "augment",
    "best_partition",
    "block_coordinates",
    "bootstrap",
    "build_hierarchy",
    "compatible_edges",
    "embed",
    "encode_attributes",
    "energy_norm",
    "kmeans",
    "match",
    "pairwise_prolongator",
    "sa_cluster",
    "shifted_laplacian",
    "walk_closeness",
]
