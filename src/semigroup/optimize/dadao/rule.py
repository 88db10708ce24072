"""The update rule of DADAO: the flow between events, the jump at a gradient, the jump at a communication.

The functions act in place on a state whose first axis has length six: of one worker (6, d), or of many (6, k, d); as numpy
arrays, compiled by numba or not, or as torch tensors.
"""

from __future__ import annotations

import math
import typing

import numba
import numpy as np
from jaxtyping import Float

__all__ = [
    "Constants",
    "communication_jump",
    "constants",
    "decays",
    "flow",
    "flow_matrix",
    "gradient_jump",
    "message",
]


class Constants(typing.NamedTuple):
    """Constants of the rule; the names follow the paper's letters, a companion's is ``..._tilde``.

    The last five are those of the closed form of the flow: the frequency of the (y, ỹ) rotation, and the stationary answer of
    (y, ỹ) to the decaying parts of x̃ and of z.
    """

    nu: float
    eta: float
    alpha: float
    alpha_tilde: float
    theta: float
    beta: float
    beta_tilde: float
    jump_y: float  # δ + δ̃
    gamma: float
    gamma_tilde: float
    frequency: float
    y_from_x: float
    y_tilde_from_x: float
    y_from_z: float
    y_tilde_from_z: float


def constants(mu: float, smoothness: float, chi_1: float) -> Constants:
    """The constants of the paper for μ, L and χ₁ of the rates' Laplacian.

    Examples
    --------
    >>> round(constants(mu=2.0, smoothness=4.0, chi_1=1.0).eta, 4)  # √(ν/L) / 8
    0.0625
    """
    nu = mu / 2
    root = math.sqrt(nu / smoothness)
    eta, alpha, alpha_tilde, theta = root / 8, root / 4, root / 8, 1 / (2 * root)

    def answer(decay: float) -> float:
        return -alpha * theta / (decay**2 - alpha * decay + alpha * theta)

    x_decay, z_decay = 2 * eta, alpha + alpha_tilde
    share = alpha / z_decay
    return Constants(
        nu=nu,
        eta=eta,
        alpha=alpha,
        alpha_tilde=alpha_tilde,
        theta=theta,
        beta=0.5,
        beta_tilde=2 * chi_1 / root,
        jump_y=root / 4 + 1,
        gamma=1 / (4 * smoothness),
        gamma_tilde=1 / (4 * math.sqrt(nu * smoothness)),
        frequency=math.sqrt(alpha * theta - alpha**2 / 4),
        y_from_x=nu * answer(x_decay),
        y_tilde_from_x=nu * answer(x_decay) * (1 - x_decay / alpha),
        y_from_z=share * answer(z_decay),
        y_tilde_from_z=share * answer(z_decay) * (1 - z_decay / alpha),
    )


@typing.no_type_check
def decays(dt, c):
    """What the flow over a time `dt` (a number or an array) needs of it: two decays, and a damped cosine and sine."""
    damping = np.exp(-0.5 * c.alpha * dt)
    return (
        np.exp(-2.0 * c.eta * dt),
        np.exp(-(c.alpha + c.alpha_tilde) * dt),
        damping * np.cos(c.frequency * dt),
        damping * np.sin(c.frequency * dt) / c.frequency,
    )


@typing.no_type_check
def flow(state, decay, c):
    r"""Advance the state along the ODE, exactly, in place.

    .. math::
        \dot x = \eta(\tilde x - x),\quad \dot{\tilde x} = \eta(x - \tilde x),\quad
        \dot z = \alpha(\tilde z - z),\quad \dot{\tilde z} = \tilde\alpha(z - \tilde z),\quad
        \dot y = \alpha(\tilde y - y),\quad \dot{\tilde y} = -\theta(y + z + \nu\tilde x).

    (x, x̃) and (z, z̃) relax to a mean at one rate each; (y, ỹ) is a damped rotation driven by both. So everything is a combination
    of the four numbers of `decays`.
    """
    half = 0.5 * (state[1] - state[0])
    centre = state[0] + half
    distance = state[4] - state[5]
    share = c.alpha / (c.alpha + c.alpha_tilde)
    limit = state[4] - share * distance
    drive = limit + c.nu * centre
    y = state[2] + drive - c.y_from_x * half - c.y_from_z * distance
    y_tilde = state[3] + drive - c.y_tilde_from_x * half - c.y_tilde_from_z * distance
    half = half * decay[0]
    distance = distance * decay[1]
    state[0] = centre - half
    state[1] = centre + half
    state[2] = (
        (decay[2] - 0.5 * c.alpha * decay[3]) * y
        + (c.alpha * decay[3]) * y_tilde
        - drive
        + c.y_from_x * half
        + c.y_from_z * distance
    )
    state[3] = (
        (decay[2] + 0.5 * c.alpha * decay[3]) * y_tilde
        - (c.theta * decay[3]) * y
        - drive
        + c.y_tilde_from_x * half
        + c.y_tilde_from_z * distance
    )
    state[4] = limit + share * distance
    state[5] = limit - (1.0 - share) * distance


@typing.no_type_check
def gradient_jump(state, gradient, c):
    """A gradient event, in place: all three variables move by values from before it."""
    step = gradient - c.nu * state[0] - state[3]
    state[0] -= c.gamma * step
    state[1] -= c.gamma_tilde * step
    state[3] += c.jump_y * step


@typing.no_type_check
def message(state):
    """The one vector that an end of an edge sends: y + z."""
    return state[2] + state[4]


@typing.no_type_check
def communication_jump(state, sent, received, c):
    """A communication event at one end of an edge, in place."""
    difference = sent - received
    state[4] -= c.beta * difference
    state[5] -= c.beta_tilde * difference


def flow_matrix(dt: float, c: Constants) -> Float[np.ndarray, "6 6"]:
    """The flow over `dt` as a matrix: the exponential of `dt` times the ODE's.

    Examples
    --------
    >>> c = constants(mu=1.0, smoothness=10.0, chi_1=1.0)
    >>> bool(np.allclose(flow_matrix(0.3, c) @ flow_matrix(0.4, c), flow_matrix(0.7, c), atol=1e-13))
    True
    """
    matrix = np.eye(6)
    flow(matrix, decays(dt, c), c)
    return matrix


# The same functions, compiled.
_jit = numba.njit(cache=True)
decays_compiled, flow_compiled, gradient_jump_compiled = _jit(decays), _jit(flow), _jit(gradient_jump)
message_compiled, communication_jump_compiled = _jit(message), _jit(communication_jump)
