r"""The operator seen through a finite-dimensional space, and the one spectrum object that everything returns.

An operator :math:`K` on a Hilbert space and an orthonormal basis of a subspace :math:`V` give two matrices and no more:
the compression :math:`A = P K|_V` (what dynamic mode decomposition keeps) and the defect :math:`B` with
:math:`\|B g\| = \|(I - P) K g\|` (what it throws away). Together they know the exact residual of every function in
:math:`V`,

.. math:: \|(K - z) g\|^2 = \|(A - z) g\|^2 + \|B g\|^2,

and therefore :math:`\tau_N(z) = \min_{g \in V, \|g\| = 1} \|(K - z)g\| = \sigma_{\min}\binom{A - zI}{B}`.
The paper's matrices are :math:`G = I`, :math:`A` and :math:`L = A^*A + B^*B`; forming :math:`L` and taking the root of
the least eigenvalue of :math:`L - zA^* - \bar z A + |z|^2` would lose half the digits.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.linalg
from jaxtyping import Complex, Float, Inexact, Num
from joblib import Parallel, delayed
from scipy.linalg import blas, lapack

from semigroup.base import check_array, check_integer, check_number
from semigroup.data.dynamical_systems import KnownSpectrum

__all__ = [
    "CompressedOperator",
    "Pseudospectrum",
    "Spectrum",
    "circle_candidates",
    "compress",
    "grid_candidates",
    "knee",
    "local_minimisers",
    "pair_residuals",
]

SMALL = 40  # below this size one batched SVD is faster than a factorisation a point
SQUARABLE = 1e-3  # least singular value, relative to the norm, for which the squared form keeps the digits that matter
CLUSTER = 3  # singular vectors that are separated without squaring
BLOCK = 32  # block size of the triangular-triangular QR factorisation
PRECISION = 1e-13
ISOMETRY_TOLERANCE = 0.1

Source = Literal["eigenvalues", "grid", "circle", "points"]


# --- the spectrum object -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectrum:
    r"""Approximate point spectrum: eigenvalues, each with its residual, the least first.

    A residual :math:`r` at :math:`\lambda` says that a unit function :math:`g` is known with
    :math:`\|(K - \lambda)g\| \le r`: :math:`\lambda` lies in the :math:`r`-pseudospectrum of :math:`K`, and where
    :math:`K` is normal (any invertible measure-preserving system), within :math:`r` of its spectrum.

    Attributes
    ----------
    eigenvalues : ndarray of shape (k,)
    residuals : ndarray of shape (k,)
    vectors : ndarray of shape (n_functions, k)
        Coefficients of the eigenfunctions in the dictionary, unit functions each.
    points, point_residuals : ndarray of shape (n_points,)
        All candidates that were examined, and their residuals.
    source : {"eigenvalues", "grid", "circle", "points"}
        Where the candidates came from.

    Examples
    --------
    >>> operator = compress(lambda x: np.exp(1j * x), np.arange(4.0)[:, None], np.arange(1, 5.0)[:, None])
    >>> spectrum = operator.eigenpairs()
    >>> spectrum
    Spectrum(1 eigenvalue, certificate ...e-16, from eigenvalues: spectrum elsewhere is not seen)
    >>> np.angle(spectrum.eigenvalues).round(3)
    array([1.])
    """

    eigenvalues: Inexact[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]
    vectors: Inexact[np.ndarray, "N k"]
    points: Inexact[np.ndarray, " p"]
    point_residuals: Float[np.ndarray, " p"]
    source: Source = "points"

    @property
    def certificate(self) -> float:
        """:math:`E`, the largest residual of the set; NaN where the set is empty."""
        return float(self.residuals.max()) if len(self) else float("nan")

    def __len__(self) -> int:
        return len(self.eigenvalues)

    def __repr__(self) -> str:
        caveat = ": spectrum elsewhere is not seen" if self.source == "eigenvalues" else ""
        noun = "eigenvalue" if len(self) == 1 else "eigenvalues"
        certificate = f"certificate {self.certificate:.2e}" if len(self) else "no certificate"
        return f"Spectrum({len(self)} {noun}, {certificate}, from {self.source}{caveat})"

    def __getitem__(self, index: Any) -> "Spectrum":
        """The eigenvalues at positions given by a slice, a mask or a list of integers."""
        return replace(
            self,
            eigenvalues=self.eigenvalues[index],
            residuals=self.residuals[index],
            vectors=self.vectors[:, index],
        )

    def within(self, tolerance: float) -> "Spectrum":
        """The eigenvalues to believe: those whose residual is at most `tolerance`."""
        return self[self.residuals <= check_number(tolerance, "tolerance", minimum=0)]

    def up_to_knee(self) -> "Spectrum":
        """The eigenvalues before the residuals' knee, conjugate pairs kept whole (§A11 of the method: modes to keep)."""
        return self[: whole_pairs(self.eigenvalues, knee(self.residuals))]

    def frequencies(self, dt: float = 1.0) -> Float[np.ndarray, " k"]:
        """Frequencies in cycles per unit of time, for snapshots `dt` apart."""
        return np.angle(self.eigenvalues) / (2 * np.pi * check_number(dt, "dt", above=0))

    def growth_rates(self, dt: float = 1.0) -> Float[np.ndarray, " k"]:
        """Exponential growth rates per unit of time, negative where the eigenfunction decays."""
        with np.errstate(divide="ignore"):
            return np.log(np.abs(self.eigenvalues)) / check_number(dt, "dt", above=0)

    def distances(self, known: KnownSpectrum | np.ndarray) -> Float[np.ndarray, " k"]:
        """Distance of each eigenvalue to a known spectrum: an array of points, or a `KnownSpectrum`."""
        if isinstance(known, np.ndarray):
            return np.abs(self.eigenvalues[:, None] - known.ravel()[None, :]).min(axis=1)
        return known.distance(self.eigenvalues)

    def table(self, dt: float = 1.0) -> pd.DataFrame:
        """One row an eigenvalue: value, modulus, residual, frequency, growth rate."""
        return pd.DataFrame(
            {
                "real": self.eigenvalues.real,
                "imaginary": self.eigenvalues.imag,
                "modulus": np.abs(self.eigenvalues),
                "residual": self.residuals,
                "frequency": self.frequencies(dt),
                "growth_rate": self.growth_rates(dt),
            }
        )


@dataclass(frozen=True)
class Pseudospectrum:
    r"""The residual :math:`\tau_N` over a grid: its sublevel sets are inside the pseudospectra of the operator.

    Attributes
    ----------
    real, imaginary : ndarray of shape (n_real,), (n_imaginary,)
        The grid's axes.
    residuals : ndarray of shape (n_imaginary, n_real)
    """

    real: Float[np.ndarray, " x"]
    imaginary: Float[np.ndarray, " y"]
    residuals: Float[np.ndarray, "y x"]

    @property
    def points(self) -> Inexact[np.ndarray, "y x"]:
        """The grid as complex numbers."""
        return self.real[None, :] + 1j * self.imaginary[:, None]

    def within(self, tolerance: float) -> np.ndarray:
        """Mask of the grid points certified to lie in the `tolerance`-pseudospectrum."""
        return self.residuals < check_number(tolerance, "tolerance", above=0)

    def area(self, tolerance: float) -> float:
        """Area of the certified part of the `tolerance`-pseudospectrum, by counting cells."""
        cell = float(np.diff(self.real).mean() * np.diff(self.imaginary).mean())
        return cell * int(self.within(tolerance).sum())


# --- the operator ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CompressedOperator:
    r"""A Koopman operator (or any other) on a finite-dimensional space, with what leaves that space.

    Attributes
    ----------
    compression : ndarray of shape (rank, rank)
        :math:`A` in an orthonormal basis.
    defect : ndarray of shape (rows, rank)
        :math:`B` with :math:`B^*B = L - A^*A`.
    basis : ndarray of shape (n_functions, rank)
        Coefficients of the orthonormal basis in the dictionary.
    adjoint : bool
        Whether the two matrices are those of the adjoint, as in the kernelised method, whose residuals are those of
        left eigenvectors.
    on_circle : bool
        Whether the spectrum is known to lie on the unit circle: then no residual is below :math:`|1 - |z||`.
    isometry_gap : float
        :math:`\|L - G\|/\|G\|`, which tends to zero for a measure-preserving system; NaN where it is not known.
    n_jobs : int or None
        Processes over the points of a grid (joblib's).

    See Also
    --------
    compress : from data and a dictionary.
    """

    compression: Inexact[np.ndarray, "k k"]
    defect: Inexact[np.ndarray, "r k"]
    basis: Inexact[np.ndarray, "N k"]
    adjoint: bool = False
    on_circle: bool = False
    isometry_gap: float = float("nan")
    n_jobs: int | None = field(default=None, compare=False)

    # -- how it is made

    @classmethod
    def from_pairs(
        cls,
        psi_x: Any,
        psi_y: Any,
        weights: Any = None,
        *,
        rcond: float = 1e-10,
    ) -> "CompressedOperator":
        r"""From the dictionary's values at the snapshots and at their images (§A1, A2).

        Parameters
        ----------
        psi_x, psi_y : array-like of shape (m, N)
        weights : array-like of shape (m,), optional
            Positive quadrature weights; 1/m each by default.
        rcond : float
            Dictionary functions that depend on the others up to this are left out.

        Raises
        ------
        ValueError
            If the two differ in shape or hold NaN; if there are fewer pairs than functions: all residuals would vanish.
        """
        psi_x, psi_y = (
            check_array(values, name, ndim=2, dtype=np.complex128 if np.iscomplexobj(values) else np.float64)
            for name, values in (("psi_x", psi_x), ("psi_y", psi_y))
        )
        if psi_x.shape != psi_y.shape:
            raise ValueError(f"psi_y must have the shape of psi_x, {psi_x.shape}, got {psi_y.shape}")
        scale = np.sqrt(check_weights(weights, len(psi_x)))[:, None]
        triangle = _r_factor(scale * np.hstack([psi_x, psi_y]))
        return cls._from_triangle(triangle, psi_x.shape[1], len(psi_x), rcond)

    @classmethod
    def _from_triangle(cls, triangle: np.ndarray, n: int, m: int, rcond: float) -> "CompressedOperator":
        """From the triangular factor of the weighted ``[psi_x, psi_y]``, which holds all inner products."""
        if m < n:
            raise ValueError(
                f"X gives {m} snapshot pairs for a dictionary of {n} functions: every residual would be 0. Give at "
                f"least {n} pairs, use fewer functions, or KernelResidualDMD, which is made for few snapshots"
            )
        psi_x, psi_y = triangle[:, :n], triangle[:, n:]
        # Column pivoting picks the functions that are independent up to rcond; the others are left out.
        q, r, pivots = scipy.linalg.qr(psi_x[: min(n, len(psi_x))], mode="full", pivoting=True)
        diagonal = np.abs(np.diag(r))
        if diagonal[0] == 0:
            raise ValueError("the dictionary has rank 0 on X: all its functions vanish at the snapshots")
        rank = int((diagonal > rcond * diagonal[0]).sum())
        basis = np.zeros((n, rank), dtype=r.dtype)
        basis[pivots[:rank]] = scipy.linalg.solve_triangular(r[:rank, :rank], np.eye(rank))
        image = psi_y @ basis
        rotated = q.conj().T @ image[: len(q)]
        rest = np.vstack([rotated[rank:], image[len(q) :]])
        gram, gram_images = psi_x.conj().T @ psi_x, psi_y.conj().T @ psi_y
        return cls(
            compression=rotated[:rank],
            defect=_upper(rest, rank),
            basis=basis,
            isometry_gap=float(np.linalg.norm(gram_images - gram, 2) / np.linalg.norm(gram, 2)),
        )

    @classmethod
    def from_kernel(
        cls,
        gram: Float[np.ndarray, "m m"],
        cross: Float[np.ndarray, "m m"],
        gram_images: Float[np.ndarray, "m m"],
        *,
        n_functions: int | None = None,
        cutoff: float = 1e-12,
    ) -> "CompressedOperator":
        r"""From kernel matrices :math:`k(x_i,x_j)`, :math:`k(y_i,x_j)`, :math:`k(y_i,y_j)` (§A7).

        The span of the :math:`k(\cdot, x_i)` carries the adjoint, :math:`K^*k(\cdot,x) = k(\cdot,F(x))`, whose images
        have the known inner products ``gram_images``: its residuals need no limit in the number of snapshots.

        Parameters
        ----------
        gram, cross, gram_images : ndarray of shape (m, m)
        n_functions : int, optional
            Leading principal directions kept; all by default.
        cutoff : float
            Directions whose eigenvalue is below this fraction of the largest are left out.
        """
        values, vectors = scipy.linalg.eigh((gram + gram.T) / 2)
        values, vectors = values[::-1], vectors[:, ::-1]
        if values[0] <= 0:
            raise ValueError("the kernel has rank 0 on X: it vanishes at the snapshots")
        rank = int((values > cutoff * values[0]).sum())
        if n_functions is not None:
            rank = min(rank, n_functions)
        basis = vectors[:, :rank] / np.sqrt(values[:rank])
        koopman = basis.T @ cross @ basis
        squared = basis.T @ ((gram_images + gram_images.T) / 2) @ basis
        return cls(
            compression=np.ascontiguousarray(koopman.T),
            defect=_root(squared - koopman @ koopman.T),
            basis=basis,
            adjoint=True,
            isometry_gap=float(np.linalg.norm(gram_images - gram, 2) / np.linalg.norm(gram, 2)),
        )

    @classmethod
    def from_isometry(cls, matrix: Any) -> "CompressedOperator":
        """From the leading block of a unitary or isometric matrix in an orthonormal basis (:math:`G = L = I`).

        Examples
        --------
        >>> shift = np.eye(3, k=-1)  # the leading block of the shift, whose spectrum is the closed disc
        >>> CompressedOperator.from_isometry(shift).residual([0.0, 1.0]).round(4)
        array([1.    , 0.7654])
        """
        block = check_array(matrix, "matrix", ndim=2, dtype=np.complex128 if np.iscomplexobj(matrix) else np.float64)
        if block.shape[0] != block.shape[1]:
            raise ValueError(f"matrix must be square, got shape {block.shape}")
        identity = np.eye(len(block))
        return cls(compression=block, defect=_root(identity - block.conj().T @ block), basis=identity, isometry_gap=0.0)

    def with_spectrum_on_circle(self) -> "CompressedOperator":
        r"""For an invertible measure-preserving system: residuals :math:`\max(\tau, |1-|z||)`."""
        self._warn_unless_isometric()
        return replace(self, on_circle=True)

    def with_isometric_gram(self) -> "CompressedOperator":
        r"""Impose what a measure-preserving system has in the limit: :math:`G \leftarrow (G+L)/2`, :math:`L \leftarrow G`.

        For data along one trajectory, where the two differ by the ends of the windows only.
        """
        self._warn_unless_isometric()
        rank = len(self.compression)
        squared = self.compression.conj().T @ self.compression + self.defect.conj().T @ self.defect
        root = scipy.linalg.cholesky((np.eye(rank) + squared) / 2)
        inverse = scipy.linalg.solve_triangular(root, np.eye(rank))
        compression = inverse.conj().T @ self.compression @ inverse
        defect = _root(np.eye(rank) - compression.conj().T @ compression)
        return replace(self, compression=compression, defect=defect, basis=self.basis @ inverse)

    def _warn_unless_isometric(self) -> None:
        if self.isometry_gap > ISOMETRY_TOLERANCE:
            warnings.warn(
                f"the data do not look measure-preserving: ‖L − G‖/‖G‖ = {self.isometry_gap:.3g}, where 0 is expected",
                UserWarning,
                stacklevel=3,
            )

    # -- what it is asked

    @property
    def rank(self) -> int:
        """Dimension of the space."""
        return self.compression.shape[1]

    @property
    def is_real(self) -> bool:
        """Whether residuals are symmetric about the real axis."""
        return not (np.iscomplexobj(self.compression) or np.iscomplexobj(self.defect))

    @property
    def koopman_matrix(self) -> Inexact[np.ndarray, "k k"]:
        """The compression of the Koopman operator in the orthonormal basis."""
        return self.compression.conj().T if self.adjoint else self.compression

    def residual(self, z: Any) -> Float[np.ndarray, "..."]:
        r""":math:`\tau_N(z)`, the least residual of a unit function of the space at each :math:`z`.

        Parameters
        ----------
        z : array-like of complex, any shape

        Returns
        -------
        ndarray of the shape of `z`
            Accurate to some 1e-13 of the operator's norm, not to the root of that, as the squared form is.

        Raises
        ------
        ValueError
            If `z` is empty or not finite.
        """
        points = check_array(z, "z", dtype=np.complex128).reshape(np.shape(z))
        shifts = points.conj() if self.adjoint else points
        if self.is_real:
            shifts = shifts.real + 1j * np.abs(shifts.imag)
        distinct, position = np.unique(shifts, return_inverse=True)
        tau = _least_singular_values(self.compression, self.defect, distinct, self.n_jobs)
        tau = tau[position.reshape(points.shape)]
        return np.asarray(np.maximum(tau, np.abs(1 - np.abs(points))) if self.on_circle else tau)

    def pseudoeigenvectors(self, z: Any) -> Inexact[np.ndarray, "N p"]:
        """Dictionary coefficients of the unit functions that attain the residual at each of the points `z`."""
        points = check_array(np.atleast_1d(z), "z", ndim=1, dtype=np.complex128)
        shifts = points.conj() if self.adjoint else points
        values, vectors = _least_singular_pairs(self.compression, self.defect, shifts)
        for i in np.flatnonzero(np.isnan(values)):
            stacked = np.vstack([self.compression - shifts[i] * np.eye(self.rank), self.defect])
            vectors[:, i] = np.linalg.svd(stacked, full_matrices=False)[2][-1].conj()
        return self.basis @ vectors

    def eigenpairs(self) -> Spectrum:
        """Eigenpairs of the compression (EDMD), each with the residual of its own eigenvector (§A4).

        The residual is taken over the data that the operator was made from; `pair_residuals` takes it over others.
        In the kernelised method it is the left eigenvector's.
        """
        values, vectors = scipy.linalg.eig(self.compression)
        vectors = vectors / np.linalg.norm(vectors, axis=0)
        within = self.compression @ vectors - vectors * values
        residuals = np.sqrt(np.linalg.norm(within, axis=0) ** 2 + np.linalg.norm(self.defect @ vectors, axis=0) ** 2)
        if self.adjoint:
            values = values.conj()
        if self.on_circle:
            residuals = np.maximum(residuals, np.abs(1 - np.abs(values)))
        order = _by_residual(values, residuals)
        return Spectrum(
            eigenvalues=values[order],
            residuals=residuals[order],
            vectors=self.basis @ vectors[:, order],
            points=values[order],
            point_residuals=residuals[order],
            source="eigenvalues",
        )

    def certified_spectrum(
        self,
        candidates: Any = "grid",
        *,
        spacing: float = 0.05,
        radius: float = 1.5,
        neighbourhood: float = 5.0,
    ) -> Spectrum:
        r"""The certified algorithm :math:`\Gamma_n` (§A6): local minimisers of the residual over a set of candidates.

        Every output :math:`\lambda` carries :math:`\tau_N(\lambda)`; their maximum is the certificate :math:`E`.

        Parameters
        ----------
        candidates : {"grid", "circle", "eigenvalues"} or array-like of complex
            A square grid has a guarantee as spacing → 0; the unit circle likewise for measure-preserving systems;
            EDMD's eigenvalues make the method a filter that can miss spectrum.
        spacing : float
            Of the grid, or along the circle.
        radius : float
            Half the side of the square grid.
        neighbourhood : float
            :math:`c`: minimisers are sought within :math:`c\,\tau_N(z)` of each candidate.

        Raises
        ------
        ValueError
            If a number is out of range or there is no candidate.
        """
        spacing = check_number(spacing, "spacing", above=0)
        neighbourhood = check_number(neighbourhood, "neighbourhood", above=0)
        source: Any = "points"
        if isinstance(candidates, str):
            if candidates == "grid":
                points = grid_candidates(spacing, check_number(radius, "radius", minimum=spacing))
            elif candidates == "circle":
                points = circle_candidates(spacing)
            elif candidates == "eigenvalues":
                points = scipy.linalg.eigvals(self.compression)
                points = points.conj() if self.adjoint else points
            else:
                raise ValueError(f"candidates must be 'grid', 'circle', 'eigenvalues' or points, got {candidates!r}")
            source = candidates
        else:
            points = check_array(candidates, "candidates", dtype=np.complex128).ravel()
        tau = self.residual(points)
        chosen = local_minimisers(points, tau, neighbourhood)
        chosen = chosen[_by_residual(points[chosen], tau[chosen])]
        return Spectrum(
            eigenvalues=points[chosen],
            residuals=tau[chosen],
            vectors=self.pseudoeigenvectors(points[chosen])
            if len(chosen)
            else np.empty((len(self.basis), 0), dtype=np.complex128),
            points=points,
            point_residuals=tau,
            source=source,
        )

    def pseudospectrum(
        self,
        n_points: int = 60,
        *,
        real: tuple[float, float] = (-1.5, 1.5),
        imaginary: tuple[float, float] = (-1.5, 1.5),
    ) -> Pseudospectrum:
        """Residuals over a grid of `n_points` by `n_points` (§A5)."""
        n_points = check_integer(n_points, "n_points", minimum=2)
        for name, (low, high) in (("real", real), ("imaginary", imaginary)):
            check_number(high, f"the end of {name}", above=check_number(low, f"the start of {name}"))
        x, y = np.linspace(*real, n_points), np.linspace(*imaginary, n_points)
        if imaginary[0] == -imaginary[1]:
            y = (y - y[::-1]) / 2  # exactly symmetric, so that a real operator's grid is halved
        return Pseudospectrum(x, y, self.residual(x[None, :] + 1j * y[:, None]))


def compress(
    dictionary: Callable[[np.ndarray], np.ndarray],
    X: Any,
    Y: Any,
    weights: Any = None,
    *,
    rcond: float = 1e-10,
) -> CompressedOperator:
    """The operator that maps each state of `X` to that of `Y`, on the span of a dictionary.

    The dictionary is evaluated on pieces of the data, so that memory does not grow with their number.

    Parameters
    ----------
    dictionary : callable
        Takes states (n_samples, n_features), gives values (n_samples, n_functions), real or complex.
    X, Y : array-like of shape (n_pairs, n_features)
    weights : array-like of shape (n_pairs,), optional
        Positive quadrature weights; equal by default.
    rcond : float
        Dictionary functions that depend on the others up to this are left out.

    Raises
    ------
    ValueError
        If the dictionary gives another shape, or values that are not finite; if there are fewer pairs than functions.

    Examples
    --------
    >>> x = np.linspace(0, 2 * np.pi, 50, endpoint=False)[:, None]
    >>> waves = lambda x: np.exp(1j * x * np.arange(-2, 3))
    >>> operator = compress(waves, x, x + 2 * np.pi / 5)
    >>> abs(operator.residual(np.exp(2j * np.pi / 5))) < 1e-14
    np.True_
    """
    X = check_array(X, "X", ndim=2)
    Y = check_array(Y, "Y", ndim=2, n_columns=X.shape[1])
    if len(X) != len(Y):
        raise ValueError(f"X and Y must have as many rows as each other, got {len(X)} and {len(Y)}")
    scale = np.sqrt(check_weights(weights, len(X)))
    width = _evaluate(dictionary, X[:1]).shape[1]

    def rows(piece: slice) -> np.ndarray:
        values = np.hstack([_evaluate(dictionary, X[piece], width), _evaluate(dictionary, Y[piece], width)])
        return scale[piece, None] * values

    return CompressedOperator._from_triangle(r_factor_in_pieces(rows, len(X), 2 * width), width, len(X), rcond)


def check_weights(weights: Any, n_pairs: int) -> Float[np.ndarray, " m"]:
    """Positive quadrature weights, one a pair; equal ones of sum 1 where none are given."""
    if weights is None:
        return np.full(n_pairs, 1.0 / n_pairs)
    weights = check_array(weights, "weights", ndim=1)
    if len(weights) != n_pairs:
        raise ValueError(f"weights must have one entry for each of the {n_pairs} snapshot pairs, got {len(weights)}")
    if weights.min() <= 0:
        raise ValueError(f"weights must be > 0, the least is {weights.min():g}")
    return weights


# --- selection ---------------------------------------------------------------------------------------------------


def grid_candidates(spacing: float, radius: float) -> Inexact[np.ndarray, " p"]:
    """A square grid through 0 of the given spacing and half-side, as complex numbers."""
    n = int(np.floor(radius / spacing + 1e-9))
    axis = spacing * np.arange(-n, n + 1)
    return (axis[None, :] + 1j * axis[:, None]).ravel()


def circle_candidates(spacing: float) -> Inexact[np.ndarray, " p"]:
    """Equispaced points of the unit circle, 1 among them, at most `spacing` apart."""
    n = int(np.ceil(2 * np.pi / spacing))
    return np.exp(2j * np.pi * np.arange(n) / n)


def local_minimisers(
    points: Inexact[np.ndarray, " p"], residuals: Float[np.ndarray, " p"], neighbourhood: float
) -> np.ndarray:
    r"""Positions of the points that minimise the residual :math:`\tau` within :math:`c\,\tau(z)` of some :math:`z`.

    Only points with :math:`\tau < 1` take part, for a residual of 1 is had for nothing at :math:`z = 0`.

    Examples
    --------
    >>> local_minimisers(np.array([0.0, 0.1, 5.0]), np.array([0.2, 0.1, 0.9]), neighbourhood=2.0)
    array([1, 2])
    """
    open_points = np.flatnonzero(residuals < 1)
    open_points = open_points[np.argsort(residuals[open_points], kind="stable")]
    reach = neighbourhood * residuals
    chosen: list[int] = []
    waiting = open_points
    # In the order of their residuals: a point minimises every neighbourhood that it is the first to be found in. Points
    # of the same residual (a conjugate pair of a real system) are taken together, so that neither half is lost.
    for group in np.split(open_points, np.flatnonzero(np.diff(residuals[open_points])) + 1):
        if len(waiting) == 0:
            break
        found = np.abs(points[waiting, None] - points[None, group]) <= reach[waiting, None]
        chosen.extend(group[found.any(axis=0)])
        waiting = waiting[~found.any(axis=1)]
    return np.sort(np.array(chosen, dtype=np.int64))


def knee(values: Float[np.ndarray, " n"]) -> int:
    """Number of entries up to the knee of a curve: the split that two straight lines fit best, in absolute error.

    Both lines include the point of the split (Dmitry Kaplan's criterion, as used by the paper's programs).

    Examples
    --------
    >>> knee(np.array([30.0, 27, 24, 21, 18, 15, 12, 10, 8, 6, 4, 2, 0]))
    7
    """
    n = len(values)
    if n < 3:
        return n
    errors = [_line_error(values[: k + 1]) + _line_error(values[k:]) for k in range(1, n - 1)]
    return int(np.argmin(errors)) + 2


def whole_pairs(eigenvalues: Inexact[np.ndarray, " k"], n: int) -> int:
    """`n`, or one more where the last of the first `n` is the first half of a conjugate pair."""
    i = 0
    while i < n:
        pair = i + 1 < len(eigenvalues) and abs(eigenvalues[i].imag) > 0
        is_pair = pair and abs(eigenvalues[i + 1] - eigenvalues[i].conj()) <= 1e-9 * abs(eigenvalues[i])
        i += 2 if is_pair else 1
    return i


def pair_residuals(
    psi_x: Inexact[np.ndarray, "m N"],
    psi_y: Inexact[np.ndarray, "m N"],
    spectrum: Spectrum,
    weights: Float[np.ndarray, " m"] | None = None,
) -> Float[np.ndarray, " k"]:
    r"""Residual of each eigenpair on other snapshot pairs, :math:`\|\Psi_Y v - \lambda\Psi_X v\| / \|\Psi_X v\|` (§A4).

    Eigenvectors fit the pairs that they were computed from, so their residuals there are optimistic.
    """
    scale = np.sqrt(check_weights(weights, len(psi_x)))[:, None]
    before, after = scale * _product(psi_x, spectrum.vectors), scale * _product(psi_y, spectrum.vectors)
    return np.linalg.norm(after - before * spectrum.eigenvalues, axis=0) / np.linalg.norm(before, axis=0)


# --- linear algebra ----------------------------------------------------------------------------------------------


def _evaluate(
    dictionary: Callable[[np.ndarray], np.ndarray], X: Float[np.ndarray, "n d"], width: int | None = None
) -> Inexact[np.ndarray, "n N"]:
    """The dictionary's values, checked."""
    values = np.asarray(dictionary(X))
    wanted = f"({len(X)}, {'n_functions' if width is None else width})"
    if values.ndim != 2 or len(values) != len(X) or (width is not None and values.shape[1] != width):
        raise ValueError(f"dictionary must give values of shape {wanted} for {len(X)} states, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("dictionary gave NaN or infinity at one of the states")
    return values if values.dtype.kind in "fc" else values.astype(np.float64)


def _product(left: Inexact[np.ndarray, "m n"], right: Inexact[np.ndarray, "n k"]) -> Inexact[np.ndarray, "m k"]:
    """The product of two matrices; of a real and a complex one in half the work."""
    if np.iscomplexobj(right) and not np.iscomplexobj(left):
        return left @ right.real + 1j * (left @ right.imag)
    return left @ right


def _r_factor(rows: Inexact[np.ndarray, "m n"]) -> Inexact[np.ndarray, "r n"]:
    """The triangular factor of a QR factorisation, which has the Gram matrix of `rows`."""
    factor: Any = np.linalg.qr(rows, mode="r")
    return factor


def r_factor_in_pieces(rows: Callable[[slice], np.ndarray], n_rows: int, width: int) -> Inexact[np.ndarray, "r n"]:
    """The triangular factor of a tall matrix whose rows are made piece by piece, so that it is never whole in memory."""
    triangle = np.empty((0, width))
    step = max(4096, 2 * width)
    for start in range(0, n_rows, step):
        triangle = _r_factor(np.vstack([triangle, rows(slice(start, start + step))]))
    return triangle


def _upper(rows: Inexact[np.ndarray, "r k"], k: int) -> Inexact[np.ndarray, "k k"]:
    """The square triangular matrix with the same Gram matrix as `rows`."""
    triangle = np.zeros((k, k), dtype=rows.dtype)
    if len(rows):
        factor = _r_factor(rows)
        triangle[: len(factor)] = factor
    return triangle


def _root(squared: Inexact[np.ndarray, "k k"]) -> Inexact[np.ndarray, "k k"]:
    """A square triangular :math:`B` with :math:`B^*B` the positive part of a Hermitian matrix."""
    values, vectors = scipy.linalg.eigh((squared + squared.conj().T) / 2)
    return _upper(np.sqrt(np.maximum(values, 0))[:, None] * vectors.conj().T, len(values))


def _by_residual(values: Num[np.ndarray, " k"], residuals: Float[np.ndarray, " k"]) -> np.ndarray:
    """Order by residual; what agrees to nine digits stays together by modulus of the angle, conjugates side by side."""
    with np.errstate(divide="ignore"):
        digits = np.where(residuals > 0, 10.0 ** (9 - np.floor(np.log10(residuals))), 1.0)
    rounded = np.round(residuals * digits) / digits
    angle = np.angle(values)
    return np.lexsort((-np.sign(angle), np.abs(angle).round(9), np.abs(values).round(9), rounded))


def _line_error(values: Float[np.ndarray, " n"]) -> float:
    """Sum of the absolute errors of the least-squares line through equispaced values."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean()
    slope = (x @ centred) / (x @ x)
    return float(np.abs(centred - slope * x).sum())


def _least_singular_values(
    compression: Inexact[np.ndarray, "k k"],
    defect: Inexact[np.ndarray, "r k"],
    shifts: Inexact[np.ndarray, " p"],
    n_jobs: int | None,
) -> Float[np.ndarray, " p"]:
    r""":math:`\sigma_{\min}\binom{A - zI}{B}` at many shifts."""
    k = compression.shape[1]
    if k <= SMALL:
        stacked = np.vstack([compression, defect]).astype(np.complex128)
        identity = np.eye(len(stacked), k)
        pieces = np.array_split(shifts, max(1, len(shifts) // 2048))
        return np.concatenate(
            [np.linalg.svd(stacked - piece[:, None, None] * identity, compute_uv=False)[:, -1] for piece in pieces]
        )
    tau = np.concatenate(
        [part[0] for part in _in_pieces(_least_singular_pairs, compression, defect, shifts, n_jobs=n_jobs)]
    )
    doubtful = np.isnan(tau)
    if doubtful.any():
        # One Schur decomposition makes both blocks triangular for all shifts together.
        triangle, unitary = scipy.linalg.schur(compression, output="complex")
        below = _upper(defect @ unitary, k).astype(np.complex128)
        triangle, below = np.asfortranarray(triangle), np.asfortranarray(below)
        parts = _in_pieces(_triangular_residuals, triangle, below, shifts[doubtful], n_jobs=n_jobs)
        tau[doubtful] = np.concatenate(parts)
    return tau


def _in_pieces(
    function: Callable[..., Any], upper: np.ndarray, lower: np.ndarray, shifts: np.ndarray, n_jobs: int | None
) -> list[Any]:
    """A function of both blocks at all shifts, in one piece or over processes."""
    pieces = np.array_split(shifts, max(1, len(shifts) // 64)) if n_jobs not in (None, 1) else [shifts]
    result: list[Any] = Parallel(n_jobs=n_jobs)(delayed(function)(upper, lower, piece) for piece in pieces)
    return result


def _least_singular_pairs(
    compression: Inexact[np.ndarray, "k k"], defect: Inexact[np.ndarray, "r k"], shifts: Inexact[np.ndarray, " p"]
) -> tuple[Float[np.ndarray, " p"], Complex[np.ndarray, "k p"]]:
    r"""Least singular values and their right vectors; NaN where squaring would cost digits.

    The vector comes from a Cholesky factor of :math:`L - zA^* - \bar zA + |z|^2I`, a fifth of the work of a QR
    factorisation, and loses half the digits; the singular value is then taken from the matrix itself, on the span of the
    last few vectors. That is second-order in their error, which is about :math:`\epsilon\|M\|^2/\sigma^2`.
    """
    k = compression.shape[1]
    stacked = np.vstack([compression, defect])
    squared = np.asfortranarray(stacked.conj().T @ stacked)
    along_real = np.asfortranarray(compression + compression.conj().T)
    along_imaginary = np.asfortranarray(1j * (compression.conj().T - compression))
    least = SQUARABLE * (np.sqrt(np.linalg.norm(squared, 2)) + np.abs(shifts))
    diagonal = np.diag_indices(k)
    values, vectors = np.full(len(shifts), np.nan), np.empty((k, len(shifts)), dtype=np.complex128)
    start = np.ones(k, dtype=np.complex128)
    column, abscissa = squared, 0.0
    hermitian = np.empty((k, k), dtype=np.complex128, order="F")
    for i, shift in enumerate(shifts):
        if shift.real != abscissa:  # one matrix a column of a grid
            column, abscissa = squared - shift.real * along_real, shift.real
        np.multiply(along_imaginary, -shift.imag, out=hermitian)
        hermitian += column
        hermitian[diagonal] += abs(shift) ** 2
        factor, failed = lapack.zpotrf(hermitian, lower=0, clean=0, overwrite_a=1)
        if failed:
            continue
        _, last = _inverse_lanczos(factor, start)
        image = _product(stacked, last).astype(np.complex128, copy=False)
        image[:k] -= shift * last
        _, singular, right = np.linalg.svd(np.linalg.qr(image, mode="r"))
        start = vectors[:, i] = last @ right[-1].conj()
        if singular[-1] > least[i]:
            values[i] = singular[-1]
    return values, vectors


def _triangular_residuals(
    triangle: Inexact[np.ndarray, "k k"], below: Inexact[np.ndarray, "k k"], shifts: Inexact[np.ndarray, " p"]
) -> Float[np.ndarray, " p"]:
    """Least singular values of two triangular blocks to all digits: a structured QR factorisation a shift."""
    k = len(triangle)
    diagonal = np.diag_indices(k)
    floor = np.finfo(np.float64).eps * (np.linalg.norm(triangle) + np.linalg.norm(below))
    result = np.empty(len(shifts))
    start = np.ones(k, dtype=np.complex128)
    for i, shift in enumerate(shifts):
        shifted = triangle.copy(order="F")
        shifted[diagonal] -= shift
        factor = lapack.ztpqrt(k, BLOCK, shifted, below, overwrite_a=1)[0]
        if np.abs(np.diag(factor)).min() <= floor:
            # Singular to rounding: an inverse iteration would overflow, and the plain decomposition is exact enough.
            result[i] = np.linalg.svd(np.triu(factor), compute_uv=False)[-1]
        else:
            result[i], last = _inverse_lanczos(factor, start)
            start = last[:, -1]
    return result


def _inverse_lanczos(
    factor: Inexact[np.ndarray, "k k"], start: Inexact[np.ndarray, " k"], max_iter: int = 80
) -> tuple[float, Complex[np.ndarray, "k few"]]:
    """Least singular value of an upper triangular matrix, and orthonormal right vectors of the least few, it last.

    Lanczos' Ritz values bound the largest eigenvalue of the inverse from below, so that what comes out is never less
    than the singular value: a certificate even before convergence.
    """
    basis = np.empty((len(start), max_iter + 1), dtype=np.complex128, order="F")
    # A trace of a fixed other direction keeps the iteration from missing the wanted one, should the start be
    # orthogonal to it.
    basis[:, 0] = start / np.linalg.norm(start)
    basis[:: max(1, len(start) // 16), 0] += 1e-3
    basis[:, 0] /= np.linalg.norm(basis[:, 0])
    alpha, beta = np.zeros(max_iter), np.zeros(max_iter)
    largest, settled = 0.0, 0
    for j in range(max_iter):
        vector = blas.ztrsv(factor, blas.ztrsv(factor, basis[:, j], trans=2))
        alpha[j] = np.vdot(basis[:, j], vector).real
        known = basis[:, : j + 1]
        for _ in range(2):  # twice is enough
            vector -= known @ blas.zgemv(1.0, known, vector, trans=2)
        beta[j] = blas.dznrm2(vector)
        value = lapack.dsterf(alpha[: j + 1], beta[: max(j, 1)])[0][-1] if j else alpha[0]
        settled = settled + 1 if value - largest <= PRECISION * value else 0
        largest = value
        if settled == 2 or beta[j] <= PRECISION * largest or j + 1 == len(start):
            break
        basis[:, j + 1] = vector / beta[j]
    ritz = scipy.linalg.eigh_tridiagonal(alpha[: j + 1], beta[:j])[1][:, -CLUSTER:]
    return 1.0 / np.sqrt(largest), known @ ritz
