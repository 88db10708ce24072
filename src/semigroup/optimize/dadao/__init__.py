r"""DADAO: minimise a sum of functions over a network of workers, without a server, a common clock or rounds.

For people who train or estimate decentrally (sensors, hospitals, data centres), or who want to know how often each link of
their network has to be used. Every worker computes gradients of its own function at its own Poisson times; every edge
exchanges one vector at its own Poisson times; between its events a worker's state follows a linear ODE, which is integrated
exactly and only when the worker is touched. Gradients and communications are decoupled: each happens as often as it must, not
in lockstep.

A. Nabli, E. Oyallon, "DADAO: Decoupled Accelerated Decentralized Asynchronous Optimization", ICML 2023, arXiv:2208.00779.

Symbols (the paper's letter): n workers, d variables; smoothness (L), strong convexity (μ), ν = μ/2; rates (λ_ij) of the edges and
their Laplacian (Λ), χ₁, χ₂ as in `semigroup.operators.topology`; the state of a worker is six vectors, rows of an array (6, d):

===  =====  ==========================================================
row  paper  role
===  =====  ==========================================================
0    x      the iterate, where the gradient is taken
1    x̃      its momentum companion
2    y      dual variable of the gradients
3    ỹ      its companion, which tends to ∇f_i(x*) - ν x*
4    z      dual variable of the consensus, Σ_i z_i = 0
5    z̃      its companion, Σ_i z̃_i = 0
===  =====  ==========================================================

The rule is four small functions, `flow`, `gradient_jump`, `message` and `communication_jump`. They act on the state of one worker
(a numpy array (6, d), compiled or not) and on many at once (a torch tensor (6, k, d)) alike, and all three carriers use them:

- ``events``: all workers in one process, event by event, compiled;
- ``batches``: all workers in one process, events that touch different workers together, on a torch device;
- ``processes``: one process a worker, over ``torch.distributed`` (gloo), started by ``torchrun``.

The events of each interval of time are a function of (seed, interval) alone, so the three carriers give the same iterates up to
rounding, and a run that was stopped and resumed gives those of one that was not.
"""

from semigroup.optimize.dadao.estimator import DADAO
from semigroup.optimize.dadao.processes import WorkerDied, last_snapshot
from semigroup.optimize.dadao.rule import (
    Constants,
    communication_jump,
    constants,
    decays,
    flow,
    flow_matrix,
    gradient_jump,
    message,
)
from semigroup.optimize.dadao.schedule import Events, RatesTooLow, Schedule, rates_of

__all__ = [
    "DADAO",
    "Constants",
    "Events",
    "RatesTooLow",
    "Schedule",
    "WorkerDied",
    "communication_jump",
    "constants",
    "decays",
    "flow",
    "flow_matrix",
    "gradient_jump",
    "last_snapshot",
    "message",
    "rates_of",
]
