r"""SRRW: stochastic approximation driven by a self-repellent random walk, a token that avoids the agents it has visited often.

For people whose data lie with the agents of a network and who have one token, and no server: the token carries the iterate,
each agent that it meets updates it with its own data and passes it to a neighbour. Which neighbour decides how noisy the
result is. A self-repellent walk prefers neighbours that were visited too seldom, which needs nothing but the visit counts
next door; its iterates have a covariance of order :math:`1/\alpha^2` in the repellence :math:`\alpha`, and may beat drawing
agents independently. The walk alone samples a law on the nodes of a graph (MCMC, crawling) with a covariance of order
:math:`1/\alpha`.

J. Hu, V. Doshi, D. Y. Eun, "Accelerating Distributed Stochastic Optimization via Self-Repellent Random Walks", ICLR 2024,
arXiv:2401.09665; V. Doshi, J. Hu, D. Y. Eun, "Self-Repellent Random Walks on General Graphs", ICML 2023, arXiv:2305.05097.

One step of the token from node :math:`X_n`, with the visit measure :math:`x_n` and a base chain P that is reversible for μ:

1. :math:`X_{n+1} \sim K_{X_n, \cdot}[x_n]`, where :math:`K_{ij}[x] \propto P_{ij} (x_j / \mu_j)^{-\alpha}`;
2. :math:`x_{n+1} = x_n + \gamma_{n+1} (\delta_{X_{n+1}} - x_n)`;
3. :math:`\theta_{n+1} = \theta_n + \beta_{n+1} H(\theta_n, X_{n+1})`,

with :math:`\gamma_n = (n+1)^{-a}` and :math:`\beta_n = s (n+1)^{-b}`. Three regimes: (i) a < b, the paper's
recommendation, (ii) a = b and (iii) a > b, in which the repellence gains nothing in the end.

Symbols (the paper's letter): ``law`` (μ), ``transitions`` (P), ``alpha`` (α), ``visits`` (x), ``memory_exponent`` (a),
``step_exponent`` (b), ``step_size`` (s), an `Update` (H), its ``root`` (θ*).

- `base_chain`: Metropolis-Hastings for any target, the simple walk, lazy ones, or the user's matrix.
- `walkers`: the walk compiled, and what it is compared with. A step costs the degree of the node: logarithms of the
  unnormalised visits are kept, so that neither large α nor the decay of old visits (a < 1) costs more or overflows.
- `updates`: gradients of `semigroup.data.decentralised` objectives, means, temporal differences, any Python function.
- `asymptotic_covariance`, `visit_covariance`, `iid_covariance`: what theory promises.
- `SRRW`: the estimator.
"""

from semigroup.optimize.srrw.chains import Chain, NotReversible, base_chain
from semigroup.optimize.srrw.estimator import SRRW, Walks
from semigroup.optimize.srrw.theory import asymptotic_covariance, iid_covariance, visit_covariance
from semigroup.optimize.srrw.updates import (
    ApproximationProblem,
    FunctionUpdate,
    Update,
    gradient_update,
    mean_estimation,
    temporal_difference,
)
from semigroup.optimize.srrw.walkers import self_repellent_kernel

__all__ = [
    "SRRW",
    "ApproximationProblem",
    "Chain",
    "FunctionUpdate",
    "NotReversible",
    "Update",
    "Walks",
    "asymptotic_covariance",
    "base_chain",
    "gradient_update",
    "iid_covariance",
    "mean_estimation",
    "self_repellent_kernel",
    "temporal_difference",
    "visit_covariance",
]
