r"""PowerWalk: personalised PageRank for batches of queries on one large graph, in milliseconds a query.

For whom: recommendation, retrieval and link prediction, where many queries ask for the vertices that matter from the point of
view of one vertex. Offline, every vertex gets a *fingerprint*: a sparse Monte-Carlo estimate of its own answer, from a few short
random walks. Online, the source's mass is pushed a few rounds along the edges and what has not stopped by then is answered by
the fingerprints of the vertices that it has reached. The combined vector uses the walks of all of these vertices, so it is far
more accurate than any fingerprint.

Paper: Q. Liu, Z. Li, J. C. S. Lui and J. Cheng, PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric
Decomposition, CIKM 2016, arXiv 1608.06054.

===================  =====================================================================================
symbol               here
===================  =====================================================================================
:math:`\alpha`       ``alpha``, the probability that a walk stops at the vertex it is on
:math:`P`            `Transitions`: row-stochastic, zero rows at vertices without out-edges
:math:`R`            ``n_walks``, walks from each vertex
:math:`L`            ``max_length``, rounds after which a walk is cut; None for never
:math:`T`            ``n_steps``, rounds of decomposition
:math:`\epsilon`     ``eps``, flows below it are not followed
:math:`q_s`          :math:`\alpha \sum_k (1-\alpha)^k (P^\top)^k e_s`, the answer whose walk dies at dangling vertices
:math:`f^{(t)}`      flow: mass that has not stopped after t rounds
:math:`r^{(t)}`      mass that has stopped within t rounds
===================  =====================================================================================

Unrolling the decomposition :math:`q_s = \alpha e_s + (1-\alpha) \sum_v P_{sv} q_v` T times gives

.. math::
    q_s = r^{(T)} + \sum_v f^{(T)}(v)\, q_v, \qquad f^{(0)} = e_s,\quad r^{(t+1)} = r^{(t)} + \alpha f^{(t)},\quad
    f^{(t+1)} = (1-\alpha) P^\top f^{(t)},

and PowerWalk puts the fingerprint :math:`\hat q_v` in the place of :math:`q_v`. All of it is done in :math:`q`, which is linear
in the source; the policy for dangling vertices is applied to the finished answer (`semigroup.operators.pagerank`).
"""

from semigroup.graphs.powerwalk.decomposition import decompose, decompose_by_pull, top_entries
from semigroup.graphs.powerwalk.device import sample_fingerprints_on_device
from semigroup.graphs.powerwalk.estimator import PowerWalk, TopK
from semigroup.graphs.powerwalk.index import Settings
from semigroup.graphs.powerwalk.walks import Fingerprints, Transitions, sample_fingerprints

__all__ = [
    "Fingerprints",
    "PowerWalk",
    "Settings",
    "TopK",
    "Transitions",
    "decompose",
    "decompose_by_pull",
    "sample_fingerprints",
    "sample_fingerprints_on_device",
    "top_entries",
]
