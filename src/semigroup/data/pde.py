"""Simulators of partial differential equations on periodic domains: trajectories to learn from, and their truth.

Stiff linear parts are integrated exactly by ETDRK4 (exponential time differencing with a fourth-order Runge-Kutta rule;
Cox and Matthews 2002, with the contour-integral coefficients of Kassam and Trefethen 2005); products are de-aliased by
the 2/3 rule. Everything is in float64, and all trajectories advance together.

References
----------
Kassam, Trefethen. Fourth-order time-stepping for stiff PDEs. SIAM J. Sci. Comput. 26 (2005) 1214.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import ArrayLike

from semigroup.base import check_array, check_integer, check_number, numpy_generator

__all__ = ["Trajectories", "advection_diffusion", "kolmogorov_flow", "kuramoto_sivashinsky"]


@dataclass(frozen=True)
class Trajectories:
    """Simulated trajectories.

    Attributes
    ----------
    states : array of shape (n_trajectories, n_frames, n_channels, *space)
    times : array of shape (n_frames,)
        Times of the frames, from 0 at the first one kept.
    parameters : array of shape (n_trajectories, n_parameters)
        The equation's parameters of each trajectory.
    parameter_names : tuple of str
    """

    states: np.ndarray
    times: np.ndarray
    parameters: np.ndarray
    parameter_names: tuple[str, ...]


def kuramoto_sivashinsky(
    n_trajectories: int,
    *,
    n_frames: int = 36,
    time_step: float = 0.8,
    n_points: int = 128,
    length: ArrayLike = 64.0,
    viscosity: ArrayLike = 1.0,
    burn_in: float = 72.0,
    solver_step: float = 0.05,
    initial: ArrayLike | None = None,
    random_state: int | None = None,
) -> Trajectories:
    r"""Trajectories of the Kuramoto-Sivashinsky equation.

    .. math:: u_t + u u_x + u_{xx} + \nu u_{xxxx} = 0, \qquad x \in [0, L) \text{ periodic.}

    The default initial state is a sum of ten sines of wavenumber 1 or 2 with amplitudes in [-1/2, 1/2]; after the burn-in
    the states lie on the chaotic attractor (standard deviation about 1.3).

    Parameters
    ----------
    n_trajectories : int
    n_frames : int
        Frames kept of each trajectory.
    time_step : float
        Time between frames; a multiple of `solver_step` up to rounding (the solver's step is shortened to fit).
    n_points : int
        Grid points. The 2/3 rule leaves the upper third of the modes empty: simulate finer than you need and sub-sample.
    length : float or array of shape (n_trajectories,)
        The domain's length L.
    viscosity : float or array of shape (n_trajectories,)
    burn_in : float
        Time simulated before the first frame.
    solver_step : float
        Longest step of the integrator.
    initial : array of shape (n_trajectories, n_points), optional
    random_state : int, optional

    Returns
    -------
    Trajectories
        States of shape (n_trajectories, n_frames, 1, n_points); parameters L and viscosity.

    Examples
    --------
    >>> data = kuramoto_sivashinsky(2, n_frames=5, n_points=64, burn_in=1.0, random_state=0)
    >>> data.states.shape
    (2, 5, 1, 64)
    """
    n_trajectories = check_integer(n_trajectories, "n_trajectories", minimum=1)
    n_points = check_integer(n_points, "n_points", minimum=8)
    lengths = _per_trajectory(length, "length", n_trajectories)
    viscosities = _per_trajectory(viscosity, "viscosity", n_trajectories)
    if initial is None:
        start = _sines(n_trajectories, n_points, numpy_generator(random_state))
    else:
        start = check_array(initial, "initial", ndim=2, n_columns=n_points)
        if len(start) != n_trajectories:
            raise ValueError(f"initial must have {n_trajectories} rows, one a trajectory, got {len(start)}")
    # Only the modes that the 2/3 rule keeps are ever computed with.
    n_kept = -(-n_points // 3)
    k = 2 * np.pi * np.arange(n_kept) / lengths[:, None]
    half_derivative = -0.5j * k

    def advection(spectrum: np.ndarray) -> np.ndarray:
        u = _to_points(spectrum, (n_points,))
        return half_derivative * _to_modes(u * u, 1)[:, :n_kept]

    frames = _integrate(
        _to_modes(start, 1)[:, :n_kept],
        k**2 - viscosities[:, None] * k**4,
        advection,
        time_step,
        n_frames,
        burn_in,
        solver_step,
    )
    states = np.stack([_to_points(frame, (n_points,)) for frame in frames], axis=1)
    return Trajectories(
        states[:, :, None],
        time_step * np.arange(n_frames),
        np.stack([lengths, viscosities], axis=1),
        ("length", "viscosity"),
    )


def kolmogorov_flow(
    n_trajectories: int,
    *,
    n_frames: int = 32,
    time_step: float = 0.112,
    n_points: int = 64,
    viscosity: ArrayLike = 1e-2,
    drag: float = 0.1,
    forcing: float = 1.0,
    forcing_wavenumber: int = 4,
    burn_in: float = 40.0,
    solver_step: float = 0.007,
    initial: ArrayLike | None = None,
    random_state: int | None = None,
) -> Trajectories:
    r"""Trajectories of the vorticity of two-dimensional Kolmogorov flow.

    .. math:: \omega_t + v \cdot \nabla \omega = \nu \Delta \omega - \mu \omega - A m \cos(m y),
        \qquad v = (\psi_y, -\psi_x), \quad -\Delta \psi = \omega,

    on the square :math:`[0, 2\pi)^2`: the curl of the velocity's equation under the force :math:`A \sin(m y)` along x. The
    default initial field is random with its spectrum's peak at wavenumber 4 and a largest speed of 7.

    Parameters
    ----------
    n_trajectories : int
    n_frames : int
    time_step : float
        Time between frames.
    n_points : int
        Grid points a side.
    viscosity : float or array of shape (n_trajectories,)
        At 64 points a viscosity of 5e-3 or more is resolved.
    drag : float
        Linear drag μ.
    forcing : float
        Amplitude A of the force.
    forcing_wavenumber : int
        Its wavenumber m.
    burn_in : float
    solver_step : float
        Longest step of the integrator; the default is half a cell at speed 7 on 64 points.
    initial : array of shape (n_trajectories, n_points, n_points), optional
        Vorticity; axes are x, then y.
    random_state : int, optional

    Returns
    -------
    Trajectories
        Vorticity of shape (n_trajectories, n_frames, 1, n_points, n_points).

    Examples
    --------
    >>> kolmogorov_flow(1, n_frames=2, n_points=16, burn_in=0.1, random_state=0).states.shape
    (1, 2, 1, 16, 16)
    """
    n_trajectories = check_integer(n_trajectories, "n_trajectories", minimum=1)
    n_points = check_integer(n_points, "n_points", minimum=8)
    check_number(drag, "drag", minimum=0)
    check_number(forcing, "forcing")
    check_integer(forcing_wavenumber, "forcing_wavenumber", minimum=1, maximum=n_points // 3)
    viscosities = _per_trajectory(viscosity, "viscosity", n_trajectories)
    shape = (n_points, n_points)
    kx = np.fft.fftfreq(n_points, 1 / n_points)[:, None]
    ky = np.arange(n_points // 2 + 1)[None, :]
    squared = kx**2 + ky**2
    inverse = np.divide(1.0, squared, out=np.zeros_like(squared), where=squared > 0)
    kept = (abs(kx) < n_points / 3) & (ky < n_points / 3)
    if initial is None:
        start = _eddies(n_trajectories, n_points, squared, inverse, kx, ky, numpy_generator(random_state))
    else:
        start = check_array(initial, "initial", ndim=3)
        if start.shape != (n_trajectories, *shape):
            raise ValueError(f"initial must have shape {(n_trajectories, *shape)}, got {start.shape}")
    y = 2 * np.pi * np.arange(n_points) / n_points
    force = -forcing * forcing_wavenumber * np.cos(forcing_wavenumber * y) * np.ones((n_points, 1))
    force_spectrum = _to_modes(force, 2)

    def transport(spectrum: np.ndarray) -> np.ndarray:
        streamfunction = spectrum * inverse
        vx, vy = _to_points(1j * ky * streamfunction, shape), _to_points(-1j * kx * streamfunction, shape)
        omega = _to_points(spectrum, shape)
        # Conservative form: exact conservation of the mean, two transforms fewer.
        return force_spectrum - kept * (1j * kx * _to_modes(vx * omega, 2) + 1j * ky * _to_modes(vy * omega, 2))

    frames = _integrate(
        _to_modes(start, 2) * kept,
        -viscosities[:, None, None] * squared - drag,
        transport,
        time_step,
        n_frames,
        burn_in,
        solver_step,
    )
    states = np.stack([_to_points(frame, shape) for frame in frames], axis=1)
    return Trajectories(states[:, :, None], time_step * np.arange(n_frames), viscosities[:, None], ("viscosity",))


def advection_diffusion(
    n_trajectories: int,
    *,
    n_frames: int = 32,
    time_step: float = 0.02,
    n_points: int = 64,
    velocity: ArrayLike = 1.0,
    viscosity: ArrayLike = 1e-3,
    spectrum_power: float = 1.5,
    random_state: int | None = None,
) -> Trajectories:
    r"""Exact trajectories of linear advection-diffusion with a broadband initial spectrum.

    .. math:: u_t + c u_x = \nu u_{xx}, \qquad x \in [0, 1) \text{ periodic,} \qquad |\hat u_k(0)| \propto k^{-p}.

    Parameters
    ----------
    n_trajectories : int
    n_frames : int
    time_step : float
    n_points : int
    velocity, viscosity : float or array of shape (n_trajectories,)
        c and ν.
    spectrum_power : float
        p.
    random_state : int, optional

    Returns
    -------
    Trajectories
        States of shape (n_trajectories, n_frames, 1, n_points), exact to rounding.

    Examples
    --------
    >>> advection_diffusion(3, n_frames=4, random_state=0).states.shape
    (3, 4, 1, 64)
    """
    n_trajectories = check_integer(n_trajectories, "n_trajectories", minimum=1)
    n_frames = check_integer(n_frames, "n_frames", minimum=1)
    n_points = check_integer(n_points, "n_points", minimum=8)
    check_number(time_step, "time_step", above=0)
    c = _per_trajectory(velocity, "velocity", n_trajectories, positive=False)
    nu = _per_trajectory(viscosity, "viscosity", n_trajectories)
    modes = np.arange(1, (n_points + 1) // 2)
    phases = numpy_generator(random_state).uniform(0, 2 * np.pi, (n_trajectories, len(modes)))
    start = np.zeros((n_trajectories, n_points // 2 + 1), dtype=complex)
    start[:, modes] = 0.5 * n_points * modes**-spectrum_power * np.exp(1j * phases)
    k = 2 * np.pi * np.arange(n_points // 2 + 1)
    times = time_step * np.arange(n_frames)
    rate = -1j * np.outer(c, k) - np.outer(nu, k**2)
    states = _to_points(start[:, None] * np.exp(times[:, None] * rate[:, None]), (n_points,))
    return Trajectories(states[:, :, None], times, np.stack([c, nu], axis=1), ("velocity", "viscosity"))


# --- the integrator ----------------------------------------------------------------------------------------------


# torch brings a vendor's transforms, which take half the time of numpy's and scipy's on grids of this size.
def _to_points(spectrum: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Real fields of a shape from their modes; modes left out at the end of the last axis are 0."""
    return torch.fft.irfftn(torch.from_numpy(spectrum), s=shape).numpy()


def _to_modes(fields: np.ndarray, n_dims: int) -> np.ndarray:
    """Modes of real fields over their last axes."""
    return torch.fft.rfftn(torch.from_numpy(fields), dim=tuple(range(-n_dims, 0))).numpy()


def _integrate(
    spectrum: np.ndarray,
    linear: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    time_step: float,
    n_frames: int,
    burn_in: float,
    solver_step: float,
) -> list[np.ndarray]:
    """Frames of ``d spectrum / dt = linear * spectrum + nonlinear(spectrum)``, the first one at time `burn_in`."""
    check_number(time_step, "time_step", above=0)
    check_integer(n_frames, "n_frames", minimum=1)
    check_number(burn_in, "burn_in", minimum=0)
    check_number(solver_step, "solver_step", above=0)
    frames = [_advance(spectrum, nonlinear, *_step(linear, burn_in, solver_step))]
    step = _step(linear, time_step, solver_step)
    for _ in range(n_frames - 1):
        frames.append(_advance(frames[-1], nonlinear, *step))
    if not np.isfinite(frames[-1]).all():
        raise ValueError(f"solver_step must be shorter for this problem: the solution is not finite at {solver_step:g}")
    return frames


@dataclass(frozen=True)
class _Weights:
    """The weights of one ETDRK4 step, one entry a mode."""

    whole: np.ndarray
    half: np.ndarray
    stage: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


def _step(linear: np.ndarray, duration: float, solver_step: float) -> tuple[int, _Weights]:
    """How many equal steps no longer than `solver_step` make `duration`, and their weights.

    The weights are means over 32 points of a unit circle around each ``step * linear``: their closed forms lose all digits
    near 0.
    """
    n_steps = max(1, int(np.ceil(duration / solver_step - 1e-9))) if duration > 0 else 0
    step = duration / max(1, n_steps)
    # Trajectories of the same equation share their weights.
    distinct, row = np.unique(linear, axis=0, return_inverse=True)
    roots = np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    z = step * distinct[..., None] + roots
    e = np.exp(z)

    def mean(values: np.ndarray) -> np.ndarray:
        return step * values.mean(-1).real[row]

    return n_steps, _Weights(
        whole=np.exp(step * linear),
        half=np.exp(step * linear / 2),
        stage=mean((np.exp(z / 2) - 1) / z),
        first=mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3),
        middle=mean((2 + z + e * (z - 2)) / z**3),
        last=mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3),
    )


def _advance(
    spectrum: np.ndarray, nonlinear: Callable[[np.ndarray], np.ndarray], n_steps: int, weights: _Weights
) -> np.ndarray:
    """`n_steps` steps of ETDRK4."""
    w = weights
    # A blow-up is reported once, at the end, by name.
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(n_steps):
            at_start = nonlinear(spectrum)
            a = w.half * spectrum + w.stage * at_start
            at_a = nonlinear(a)
            at_b = nonlinear(w.half * spectrum + w.stage * at_a)
            at_c = nonlinear(w.half * a + w.stage * (2 * at_b - at_start))
            spectrum = w.whole * spectrum + w.first * at_start + 2 * w.middle * (at_a + at_b) + w.last * at_c
    return spectrum


# --- initial states ----------------------------------------------------------------------------------------------


def _sines(n_trajectories: int, n_points: int, rng: np.random.Generator) -> Float[np.ndarray, "n x"]:
    """Sums of ten sines of wavenumber 1 or 2 (Brandstetter, Welling, Worrall 2022)."""
    shape = (n_trajectories, 10, 1)
    amplitude, phase = rng.uniform(-0.5, 0.5, shape), rng.uniform(0, 2 * np.pi, shape)
    wavenumber = rng.integers(1, 3, shape)
    x = np.arange(n_points) / n_points
    return (amplitude * np.sin(2 * np.pi * wavenumber * x + phase)).sum(1)


def _eddies(
    n_trajectories: int,
    n_points: int,
    squared: Float[np.ndarray, "x y"],
    inverse: Float[np.ndarray, "x y"],
    kx: np.ndarray,
    ky: np.ndarray,
    rng: np.random.Generator,
) -> Float[np.ndarray, "n x x"]:
    """Random vorticity whose energy peaks at wavenumber 4, scaled to a largest speed of 7."""
    shape = (n_points, n_points)
    noise: Complex[np.ndarray, "n x y"] = _to_modes(rng.standard_normal((n_trajectories, *shape)), 2)
    magnitude = np.sqrt(squared)
    spectrum = noise * magnitude * np.exp(-((magnitude - 4.0) ** 2) / 2)
    vx = _to_points(1j * ky * spectrum * inverse, shape)
    vy = _to_points(-1j * kx * spectrum * inverse, shape)
    speed = np.sqrt(vx**2 + vy**2).max((1, 2))
    return _to_points(spectrum, shape) * (7.0 / speed)[:, None, None]


def _per_trajectory(value: ArrayLike, name: str, n: int, *, positive: bool = True) -> Float[np.ndarray, " n"]:
    """One value a trajectory."""
    values = check_array(value, name, ndim=(0, 1)).reshape(-1)
    if len(values) not in (1, n):
        raise ValueError(f"{name} must be one number or {n} of them, one a trajectory, got {len(values)}")
    if positive and (values <= 0).any():
        raise ValueError(f"{name} must be > 0, got {values.min():g}")
    return np.broadcast_to(values, n).copy()
