r"""The covariances that central limit theorems promise, from the eigenpairs of the base chain.

With the orthonormal eigenvectors :math:`w_i` of :math:`D_\mu^{1/2} P D_\mu^{-1/2}`, eigenvalues :math:`\lambda_i` (the last
is 1), :math:`u_i = D_\mu^{1/2} w_i`, :math:`h_i = H^\top u_i` and :math:`\rho_i = \alpha (1 + \lambda_i) + 1`, the visits have

.. math:: V_x = \sum_{i<N} \frac{1}{2 \rho_i - 1_{a=1}} \frac{1+\lambda_i}{1-\lambda_i} u_i u_i^\top

and the iterates the solution V of :math:`M V + V M^\top + U = 0`, :math:`M = \nabla h + \tfrac12 1_{b=1} I`. In regime (ii)
U comes from the joint Lyapunov equation of visits and iterates, which the eigenvectors take apart into one small system each.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_continuous_lyapunov

from semigroup.base import check_array, check_choice, check_number
from semigroup.optimize.srrw.chains import check_chain

__all__ = ["asymptotic_covariance", "iid_covariance", "regime_of", "visit_covariance"]

Regime = Literal["i", "ii", "iii"]


def regime_of(memory_exponent: float, step_exponent: float) -> Regime:
    """Which of the three regimes two exponents are in: a < b, a = b or a > b."""
    if memory_exponent == step_exponent:
        return "ii"
    return "i" if memory_exponent < step_exponent else "iii"


def asymptotic_covariance(
    transitions: Any,
    law: Any,
    updates: Any,
    jacobian: Any,
    alpha: float,
    regime: Regime | None = None,
    a: float = 0.8,
    b: float = 0.9,
) -> Float[np.ndarray, "d d"]:
    r"""Covariance V of the limit law of :math:`\beta_n^{-1/2} (\theta_n - \theta^*)`.

    Parameters
    ----------
    transitions : (n, n) matrix
        P.
    law : array of shape (n,)
        μ, for which P is reversible.
    updates : array of shape (n, d)
        H, the updates of all agents at θ*, as they enter the step (times step size and importance weight); their mean under
        μ is zero.
    jacobian : array of shape (d, d)
        ∇h, the Jacobian of the mean update at θ*; all eigenvalues have negative real parts, with b = 1 below -1/2.
    alpha : float
        α >= 0.
    regime : {"i", "ii", "iii"}, optional
        a < b, a = b or a > b; None reads it off a and b.
    a, b : float
        Exponents in (1/2, 1] of the steps of visits and of iterates. They matter only where they are one, and for the regime.

    Raises
    ------
    ValueError
        If the chain is not stochastic, irreducible and reversible, shapes disagree, the mean update is not zero, `regime`
        contradicts a and b, or the Jacobian's eigenvalues are not far enough to the left, so that there is no covariance.

    References
    ----------
    J. Hu, V. Doshi, D. Y. Eun, ICLR 2024, arXiv:2401.09665, central limit theorem for the three cases of step sizes.

    Examples
    --------
    >>> P = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    >>> H = np.array([[1.0], [0.0], [-1.0]])
    >>> [asymptotic_covariance(P, np.ones(3), H, [[-1.0]], alpha).round(4).item() for alpha in (0, 1, 10)]
    [0.1111, 0.0494, 0.0031]
    """
    alpha = check_number(alpha, "alpha", minimum=0)
    a, b = (check_number(value, name, above=0.5, maximum=1) for value, name in ((a, "a"), (b, "b")))
    found = regime_of(a, b)
    if regime is not None and check_choice(regime, "regime", ("i", "ii", "iii")) != found:
        raise ValueError(f"regime must be '{found}' for a = {a:g} and b = {b:g}, got {regime!r}")
    eigenvalues, vectors = _eigenpairs(transitions, law)
    mu = vectors[:, -1] ** 2
    h, gradient = _checked(updates, jacobian, mu / mu.sum(), b)
    projected = (np.sqrt(mu)[:, None] * vectors[:, :-1]).T @ h  # rows h_i
    noise = (1 + eigenvalues) / (1 - eigenvalues)
    repelled = 1 + alpha * (1 + eigenvalues)
    if found == "ii":
        half = float(b == 1)
        spread = noise / (2 * repelled - half)  # of x along u_i
        d = h.shape[1]
        systems = (repelled - half)[:, None, None] * np.eye(d) - gradient
        # Covariance of the iterate with the visits along u_i.
        cross = np.linalg.solve(systems, ((noise - (repelled - 1) * spread)[:, None] * projected)[:, :, None])[:, :, 0]
        mixed = ((repelled - 1)[:, None] * projected).T @ cross
        forcing = (noise[:, None] * projected).T @ projected - mixed - mixed.T
    else:
        damping = repelled if found == "i" else np.ones_like(repelled)
        forcing = ((noise / damping**2)[:, None] * projected).T @ projected
    return _solve(gradient, forcing, b)


def iid_covariance(law: Any, updates: Any, jacobian: Any, b: float = 0.9) -> Float[np.ndarray, "d d"]:
    """The same where agents are drawn independently from μ.

    Parameters and errors as of `asymptotic_covariance`.

    Examples
    --------
    >>> iid_covariance(np.ones(2), [[1.0], [-1.0]], [[-1.0]])
    array([[0.5]])
    """
    b = check_number(b, "b", above=0.5, maximum=1)
    mu = check_array(law, "law", ndim=1)
    if not (mu > 0).all():
        raise ValueError(f"law must be positive, got {mu.min():g}")
    mu = mu / mu.sum()
    h, gradient = _checked(updates, jacobian, mu, b)
    return _solve(gradient, (mu[:, None] * h).T @ h, b)


def visit_covariance(transitions: Any, law: Any, alpha: float, a: float = 1.0) -> Float[np.ndarray, "n n"]:
    r"""Covariance of the limit law of :math:`\gamma_n^{-1/2} (x_n - \mu)`, of order 1/α.

    Parameters
    ----------
    transitions : (n, n) matrix
    law : array of shape (n,)
    alpha : float
    a : float
        Exponent of the steps of the visits; 1 for plain visit frequencies.

    Raises
    ------
    ValueError
        If the chain is not stochastic, irreducible and reversible, or a number is out of bounds.

    Examples
    --------
    >>> P = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    >>> np.trace(visit_covariance(P, np.ones(3), 0.0)).round(4)
    np.float64(0.2222)
    """
    alpha = check_number(alpha, "alpha", minimum=0)
    a = check_number(a, "a", above=0.5, maximum=1)
    eigenvalues, vectors = _eigenpairs(transitions, law)
    u = np.abs(vectors[:, -1:]) * vectors[:, :-1]
    weights = (1 + eigenvalues) / (1 - eigenvalues) / (2 * alpha * (1 + eigenvalues) + 2 - float(a == 1))
    return (u * weights) @ u.T


def _eigenpairs(transitions: Any, law: Any) -> tuple[Float[np.ndarray, " rest"], Float[np.ndarray, "n n"]]:
    """All eigenvalues but the last, which is one, and all orthonormal eigenvectors of the symmetrised chain."""
    chain = check_chain(transitions, law)
    if not chain.reversible:
        raise ValueError(
            "transitions must be reversible for law (mu_i P_ij = mu_j P_ji): the covariance formula needs it"
        )
    root = np.sqrt(chain.law)
    symmetric = root[:, None] * chain.transitions.toarray() / root
    eigenvalues, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    vectors[:, -1] = root  # exactly, which it is up to rounding and sign
    return np.maximum(eigenvalues[:-1], -1.0), vectors


def _checked(
    updates: Any, jacobian: Any, law: Float[np.ndarray, " n"], b: float
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "d d"]]:
    h = check_array(updates, "updates", ndim=2)
    gradient = check_array(jacobian, "jacobian", ndim=2)
    if len(h) != len(law):
        raise ValueError(f"updates must have one row for each of the {len(law)} agents, got {len(h)}")
    d = h.shape[1]
    if gradient.shape != (d, d):
        raise ValueError(f"jacobian must have shape ({d}, {d}), got {gradient.shape}")
    mean = np.abs(law @ h).max()
    if mean > 1e-6 * np.abs(h).max():
        raise ValueError(f"updates must have mean zero under law at the root, got a mean of size {mean:.3g}")
    bound = -0.5 if b == 1 else 0.0
    worst = np.linalg.eigvals(gradient).real.max()
    if worst >= bound:
        raise ValueError(
            f"jacobian must have eigenvalues with real parts < {bound:g} for b = {b:g}, got {worst:.4g}: there is no covariance"
        )
    return h, gradient


def _solve(gradient: Float[np.ndarray, "d d"], forcing: Float[np.ndarray, "d d"], b: float) -> Float[np.ndarray, "d d"]:
    """V of M V + V Mᵀ + U = 0."""
    drift = gradient + 0.5 * float(b == 1) * np.eye(len(gradient))
    solution = solve_continuous_lyapunov(drift, -forcing)
    return (solution + solution.T) / 2
