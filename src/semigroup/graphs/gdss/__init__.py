r"""GDSS: generate graphs by diffusing their nodes and edges together.

For people who have a list of graphs, or of molecules, and want more of the kind: candidate molecules, synthetic networks,
training data. Node features and adjacency are turned into noise by two SDEs, and back by the two reverse SDEs, which are
coupled through the scores of the *joint* density. Evaluation is a kit of its own that serves any generator.

Paper: Jo, Lee, Hwang, "Score-based Generative Modeling of Graphs via the System of Stochastic Differential Equations",
ICML 2022, arXiv:2202.02514.

==========================================  ===========================================================================
in the paper                                here
==========================================  ===========================================================================
:math:`X, A`                                ``x`` (graphs, n, F), ``a`` (graphs, n, n): noisy states of nodes and edges
:math:`f_1, g_1, f_2, g_2`                  `semigroup.schedules.VP`, `SubVP`, `VE`: ``node_sde``, ``edge_sde``
:math:`s_\theta, s_\phi`                    `ScoreNetworkX` or `ScoreNetworkXAttention` (GMH), `ScoreNetworkA`,
`BaselineNetwork`
S4                                          `symmetric_splitting`: one evaluation of the scores a step
PC                                          `predictor_corrector`: two
GDSS-seq                                    ``coupling="sequential"``
==========================================  ===========================================================================

The forward system is :math:`dX = f_1 dt + g_1 dw_1,\ dA = f_2 dt + g_2 dw_2`; the reverse one has the drifts

.. math:: f_1 - g_1^2 \nabla_X \log p_t(X, A), \qquad f_2 - g_2^2 \nabla_A \log p_t(X, A).

The networks estimate the two partial scores and do not see the time.

==================  ==========================  ===========================================================================
sampler             evaluations a step          what it is
==================  ==========================  ===========================================================================
euler, reverse      1, and 1 a corrector step   Euler-Maruyama; the reverse of the discrete chain; noise and score
flow, reverse-flow  the same                    the same two for the probability flow: no noise
s4                  1, corrector included       exact noise for half a step, score, exact noise for half a step
==================  ==========================  ===========================================================================

With exact scores S4 gains nothing over Euler-Maruyama without corrector at the same number of evaluations; the corrector
pays for errors of the scores (claim 2).

Time and memory of an evaluation grow with the pairs of real nodes times the channels, :math:`\sum n^2 c`, and :math:`n^2`
times the heads. Nodes without edges cannot be represented.

In GDSS-seq the nodes are sampled from their own score, and the edges from a score conditioned on the *finished* nodes, on
which it is trained. Published code of it does not exist.

Levels of use: `GDSS` on graphs or SMILES; the networks and samplers for other states; `graph_mmd`, `nspdk_mmd`,
`uniqueness`, `novelty` and `molecule_measures` for any generator's output, and
`semigroup.operators.graphlets.orbit_counts` for any graph. The Fréchet ChemNet distance is not among them: it needs the
weights of a trained network.
"""

from semigroup.graphs.gdss.estimator import GDSS, NothingGenerated
from semigroup.graphs.gdss.evaluation import (
    graph_hashes,
    graph_mmd,
    graph_statistics,
    novelty,
    nspdk_mmd,
    uniqueness,
)
from semigroup.graphs.gdss.generation import ScorePair, sample_states, to_score
from semigroup.graphs.gdss.molecules import (
    DecodedMolecules,
    decode_molecules,
    elements_of_smiles,
    molecule_measures,
    to_smiles,
)
from semigroup.graphs.gdss.networks import (
    AttentionLayer,
    BaselineNetwork,
    ScoreNetworkA,
    ScoreNetworkX,
    ScoreNetworkXAttention,
)
from semigroup.graphs.gdss.samplers import (
    Component,
    predictor_corrector,
    reverse_transition,
    symmetric_splitting,
)
from semigroup.graphs.gdss.states import decode_graphs

__all__ = [
    "GDSS",
    "AttentionLayer",
    "BaselineNetwork",
    "Component",
    "DecodedMolecules",
    "NothingGenerated",
    "ScoreNetworkA",
    "ScoreNetworkX",
    "ScoreNetworkXAttention",
    "ScorePair",
    "decode_graphs",
    "decode_molecules",
    "elements_of_smiles",
    "graph_hashes",
    "graph_mmd",
    "graph_statistics",
    "molecule_measures",
    "novelty",
    "nspdk_mmd",
    "predictor_corrector",
    "reverse_transition",
    "sample_states",
    "symmetric_splitting",
    "to_score",
    "to_smiles",
    "uniqueness",
]
