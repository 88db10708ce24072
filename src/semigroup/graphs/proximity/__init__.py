"""Proximity measures between the vertices of a graph, the clusters they give, and which of them is best.

For people who pick a distance on a graph: for clustering, for nearest neighbours, for predicting links. Twenty-eight families
with one parameter each (`families`, whose table says what each is), three clustering methods (`clustering`), and the study that
compares families on graphs with known classes (`comparison`). The measures of a graph share its eigendecompositions: hold a
`Spectra` to measure it again and again.

V. Ivashkin, P. Chebotarev, "Do logarithmic proximity measures outperform plain ones in graph clustering?", NET 2016, Springer
PROMS 197 (2017), arXiv:1605.01046.

>>> from semigroup.data.random_graphs import planted_partition
>>> graph = planted_partition(100, 2, 0.3, 0.1, random_state=0)
>>> model = ProximityClustering(family="logComm", n_clusters=2).fit(graph.adjacency)
>>> bool(max((model.labels_ == graph.labels).mean(), (model.labels_ != graph.labels).mean()) > 0.95)
True
"""

from semigroup.graphs.proximity.clustering import cut_tree, kernel_kmeans, kernel_spectral, squared_distances, ward_tree
from semigroup.graphs.proximity.comparison import (
    RejectCurves,
    Study,
    copeland,
    parameter_grid,
    partition,
    reject_auc,
    reject_curve,
    reject_curves,
    study,
)
from semigroup.graphs.proximity.estimator import ProximityClustering
from semigroup.graphs.proximity.families import (
    FAMILIES,
    STUDY_FAMILIES,
    Family,
    Proximity,
    Spectra,
    absorption,
    communicability,
    corrected_commute_time,
    distance_of_kernel,
    double_factorial,
    forest,
    free_energy,
    heat_kernel,
    heat_pagerank,
    kernel_of_distance,
    modified_pagerank,
    normalised_heat,
    pagerank_kernel,
    parameter_of,
    proximity,
    randomised_shortest_paths,
    sigmoid,
    walk,
)

__all__ = [
    "FAMILIES",
    "STUDY_FAMILIES",
    "Family",
    "Proximity",
    "ProximityClustering",
    "RejectCurves",
    "Spectra",
    "Study",
    "absorption",
    "communicability",
    "copeland",
    "corrected_commute_time",
    "cut_tree",
    "distance_of_kernel",
    "double_factorial",
    "forest",
    "free_energy",
    "heat_kernel",
    "heat_pagerank",
    "kernel_kmeans",
    "kernel_of_distance",
    "kernel_spectral",
    "modified_pagerank",
    "normalised_heat",
    "pagerank_kernel",
    "parameter_grid",
    "parameter_of",
    "partition",
    "proximity",
    "randomised_shortest_paths",
    "reject_auc",
    "reject_curve",
    "reject_curves",
    "sigmoid",
    "squared_distances",
    "study",
    "walk",
    "ward_tree",
]
