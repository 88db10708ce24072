"""The estimators: residual dynamic mode decomposition on a dictionary, and on a kernel."""

import warnings
from typing import Any, Literal

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Inexact
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from semigroup.base import (
    Estimator,
    all_or_nothing,
    check_array,
    check_choice,
    check_integer,
    check_number,
    in_kind,
    numpy_generator,
)
from semigroup.dynamics.koopman.dictionaries import (
    Dictionary,
    Fourier,
    Legendre,
    Linear,
    RadialBasis,
    delay_embedding,
    from_state,
    kmeans_centres,
    mean_centred_norm,
    to_state,
)
from semigroup.dynamics.koopman.kernels import KERNELS, KernelName, kernel_matrix, kernel_scale
from semigroup.dynamics.koopman.measures import isometry_measure
from semigroup.dynamics.koopman.spectrum import (
    CompressedOperator,
    Pseudospectrum,
    Spectrum,
    check_weights,
    compress,
    knee,
    pair_residuals,
    r_factor_in_pieces,
    whole_pairs,
)

__all__ = ["KernelResidualDMD", "ResidualDMD"]

PAIRS_PER_CENTRE = 10
MAX_CENTRES = 200
ModesKept = int | Literal["knee", "all"]


class _KoopmanEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """What both estimators share: snapshots in, spectrum and forecasts out."""

    n_delays: int
    delay_stride: int
    measure_preserving: str
    n_modes: ModesKept
    n_jobs: int | None
    operator_: CompressedOperator
    eigenvalues_: np.ndarray
    residuals_: np.ndarray
    eigenvectors_: np.ndarray
    modes_: np.ndarray
    last_state_: np.ndarray
    n_modes_: int

    # -- what a subclass gives

    def _features(self, embedded: np.ndarray) -> np.ndarray:
        """Values of the dictionary at embedded states."""
        raise NotImplementedError

    # -- fitting

    def _check_shared(self) -> None:
        check_integer(self.n_delays, "n_delays", minimum=1)
        check_integer(self.delay_stride, "delay_stride", minimum=1)
        check_choice(self.measure_preserving, "measure_preserving", ("no", "circle", "gram"))
        if isinstance(self.n_modes, str):
            check_choice(self.n_modes, "n_modes", ("knee", "all"))
        else:
            check_integer(self.n_modes, "n_modes", minimum=1)

    def _pairs(self, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Embedded states and their images, from pairs or from one trajectory."""
        X = validate_data(self, _to_numpy(X), dtype=np.float64, ensure_min_samples=1 if Y is not None else 2)
        if Y is not None:
            Y = check_array(_to_numpy(Y), "Y", ndim=(1, 2))
            Y = Y.reshape(-1, 1) if Y.ndim == 1 and X.shape[1] == 1 else Y
            if len(Y) != len(X):
                raise ValueError(f"X and Y must have as many rows as each other, got {len(X)} and {len(Y)}")
        if Y is None or Y.ndim == 1:
            if Y is not None:
                # The target that scikit-learn's tools hand to every estimator, and no image of anything.
                warnings.warn(
                    f"Y is a vector and X has {X.shape[1]} columns: Y is ignored, and the rows of X are one trajectory",
                    UserWarning,
                    stacklevel=4,
                )
            if len(X) < 2:
                raise ValueError(f"X must have at least 2 rows to make a pair, got {len(X)} sample (1 sample)")
            embedded = delay_embedding(X, self.n_delays, self.delay_stride)
            if len(embedded) < 2:
                raise ValueError(
                    f"X is too short for its delays: {self.n_delays} delays of stride {self.delay_stride} need at least "
                    f"{(self.n_delays - 1) * self.delay_stride + 2} snapshots, got {len(X)}"
                )
            self.last_state_ = X[-((self.n_delays - 1) * self.delay_stride + 1) :].copy()
            return embedded[:-1], embedded[1:]
        if Y.shape[1] != X.shape[1]:
            raise ValueError(f"Y must have {X.shape[1]} columns like X, got {Y.shape[1]}")
        if self.n_delays > 1:
            raise ValueError("n_delays must be 1 where Y is given: delays are taken along one trajectory")
        self.last_state_ = Y[-1:].copy()
        return X, Y

    def _finish(self, operator: CompressedOperator, before: np.ndarray, after: np.ndarray, is_chain: bool) -> None:
        """Spectrum and modes from the operator."""
        if self.measure_preserving != "no":
            operator = operator.with_isometric_gram() if self.measure_preserving == "gram" else operator
            operator = operator.with_spectrum_on_circle()
        self.operator_ = operator
        spectrum, right = self._eigenpairs(operator)
        self.eigenvalues_, self.residuals_ = spectrum.eigenvalues, spectrum.residuals
        self.eigenvectors_ = spectrum.vectors
        kept = self._count_modes(spectrum)
        # §A11: regress the states on the kept eigenfunctions; along a trajectory all but the first row of `before`
        # are rows of `after`. The triangular factor has all that least squares see of the rows, and is real where the
        # dictionary is, as its product with the eigenvectors is not.
        states = np.vstack([before[:1] if is_chain else before, after])
        n_functions, width = len(right), self.n_features_in_

        def rows(piece: slice) -> np.ndarray:
            return np.hstack([self._features(states[piece]), states[piece, -width:]])

        triangle = r_factor_in_pieces(rows, len(states), n_functions + width)
        functions, current = triangle[:, :n_functions] @ right[:, :kept], triangle[:, n_functions:]
        # One memory layout, so that a stored model rounds as this one does.
        self.eigenfunctions_ = np.ascontiguousarray(right)
        self.modes_ = np.ascontiguousarray(scipy.linalg.lstsq(functions, current, lapack_driver="gelsy")[0])
        self.n_modes_ = kept
        self._n_features_out = right.shape[1]

    def _eigenpairs(self, operator: CompressedOperator) -> tuple[Spectrum, np.ndarray]:
        """Eigenpairs with residuals, and the coefficients of the eigenfunctions to expand states in."""
        spectrum = operator.eigenpairs()
        return spectrum, spectrum.vectors

    def _count_modes(self, spectrum: Spectrum) -> int:
        if self.n_modes == "all":
            return len(spectrum)
        wanted = knee(spectrum.residuals) if self.n_modes == "knee" else min(int(self.n_modes), len(spectrum))
        return whole_pairs(spectrum.eigenvalues, wanted)

    # -- the spectrum

    @property
    def spectrum_(self) -> Spectrum:
        """Eigenvalues of EDMD, each with its residual, the least first."""
        check_is_fitted(self)
        values, residuals = self.eigenvalues_, self.residuals_
        return Spectrum(values, residuals, self.eigenvectors_, values, residuals, "eigenvalues")

    @property
    def koopman_matrix_(self) -> np.ndarray:
        """The Koopman matrix in the orthonormal basis ``operator_.basis``, of shape (rank, rank)."""
        check_is_fitted(self)
        return self.operator_.koopman_matrix

    def residual(self, z: Any) -> np.ndarray:
        """Least residual of a function of the dictionary at each complex number: see `CompressedOperator.residual`."""
        check_is_fitted(self)
        return self.operator_.residual(z)

    def certified_spectrum(
        self, candidates: Any = "grid", *, spacing: float = 0.05, radius: float = 1.5, neighbourhood: float = 5.0
    ) -> Spectrum:
        """The certified algorithm: see `CompressedOperator.certified_spectrum`."""
        check_is_fitted(self)
        return self.operator_.certified_spectrum(
            candidates, spacing=spacing, radius=radius, neighbourhood=neighbourhood
        )

    def pseudospectrum(
        self,
        n_points: int = 60,
        *,
        real: tuple[float, float] = (-1.5, 1.5),
        imaginary: tuple[float, float] = (-1.5, 1.5),
    ) -> Pseudospectrum:
        """Residuals over a grid: see `CompressedOperator.pseudospectrum`."""
        check_is_fitted(self)
        return self.operator_.pseudospectrum(n_points, real=real, imaginary=imaginary)

    # -- states

    def _embedded(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return delay_embedding(
            validate_data(self, _to_numpy(X), reset=False, dtype=np.float64), self.n_delays, self.delay_stride
        )

    def features(self, X: Any) -> Any:
        """Values of the dictionary at states, of shape (n_windows, n_functions)."""
        return _like(self._features(self._embedded(X)), X)

    def transform(self, X: Any) -> Any:
        """Values of the eigenfunctions at states, the least residual first.

        Parameters
        ----------
        X : array-like or Tensor of shape (n_samples, n_features)
            With delays, a trajectory: one row of the result a window.

        Returns
        -------
        complex ndarray or Tensor of shape (n_windows, rank)
        """
        return _like(self._features(self._embedded(X)) @ self.eigenfunctions_, X)

    def predict(self, X: Any) -> Any:
        """States one step later.

        Parameters
        ----------
        X : array-like or Tensor of shape (n_samples, n_features)
            With delays, a trajectory: one row of the result a window.

        Returns
        -------
        ndarray or Tensor of shape (n_windows, n_features)
        """
        return self._propagate(X, 1)[:, 0]

    def forecast(self, n_steps: int, X: Any = None) -> Any:
        """States 1, ..., n_steps later, by the powers of the eigenvalues kept (§A11).

        Parameters
        ----------
        n_steps : int
        X : array-like or Tensor of shape (n_samples, n_features), optional
            Where to start from; by default the end of the training data.

        Returns
        -------
        ndarray or Tensor of shape (n_windows, n_steps, n_features), or (n_steps, n_features) where X is None
        """
        check_is_fitted(self)
        n_steps = check_integer(n_steps, "n_steps", minimum=1)
        if X is None:
            return self._forecast_embedded(
                delay_embedding(self.last_state_, self.n_delays, self.delay_stride), n_steps
            )[0]
        return self._propagate(X, n_steps)

    def _propagate(self, X: Any, n_steps: int) -> Any:
        return _like(self._forecast_embedded(self._embedded(X), n_steps), X)

    def _forecast_embedded(self, embedded: np.ndarray, n_steps: int) -> np.ndarray:
        kept = self.n_modes_
        start = self._features(embedded) @ self.eigenfunctions_[:, :kept]
        # Powers by accumulation: an underflowing power is 0, as it should be.
        powers = np.cumprod(np.broadcast_to(self.eigenvalues_[:kept], (n_steps, kept)), axis=0)
        amplitudes = start[:, None, :] * powers[None, :, :]
        return (amplitudes @ self.modes_).real

    # -- conventions

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # eigenfunctions are complex
        return tags

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        operator: CompressedOperator = state.pop("operator_")
        for name in ("compression", "defect", "basis", "adjoint", "on_circle", "isometry_gap"):
            state[f"operator.{name}"] = getattr(operator, name)
        if isinstance(state.get("dictionary_"), Dictionary):
            state.update(to_state(state.pop("dictionary_")))
        if "feature_names_in_" in state:
            state["feature_names_in_"] = state["feature_names_in_"].tolist()
        state["n_features_out"] = self._n_features_out
        # safetensors has no complex doubles: they are stored as their real and imaginary parts.
        for name in [name for name, value in state.items() if np.iscomplexobj(value)]:
            value = state.pop(name)
            state[f"{name}|real"], state[f"{name}|imag"] = value.real, value.imag
        return state

    def _set_state(self, state: dict[str, Any]) -> None:
        for name in [name.removesuffix("|real") for name in state if name.endswith("|real")]:
            state[name] = state.pop(f"{name}|real") + 1j * state.pop(f"{name}|imag")
        operator = {
            name.removeprefix("operator."): state.pop(name) for name in list(state) if name.startswith("operator.")
        }
        state["operator_"] = CompressedOperator(**operator, n_jobs=self.n_jobs)
        if "dictionary.kind" in state:
            state["dictionary_"] = from_state(state)
            state = {name: value for name, value in state.items() if not name.startswith("dictionary.")}
        if "feature_names_in_" in state:
            state["feature_names_in_"] = np.array(state["feature_names_in_"], dtype=object)
        self._n_features_out = state.pop("n_features_out")
        super()._set_state(state)


class ResidualDMD(_KoopmanEstimator):
    r"""The spectrum of a dynamical system from snapshots, each eigenvalue with an error bound.

    Extended dynamic mode decomposition on a dictionary, together with the one matrix that it leaves out, which gives the
    exact residual :math:`\|(K - \lambda) g\|` of everything it finds: which eigenvalues to believe, where the spectrum
    is, where it is not.

    Parameters
    ----------
    dictionary : {"radial-basis", "linear", "polynomial", "fourier"}
        Functions of the (delay-embedded) state: radial functions at k-means centres, the coordinates themselves (dynamic
        mode decomposition, and the way in for a dictionary of your own: pass its values as X and Y), polynomials of a
        total degree, or plane waves for states on a torus.
    n_centres : int, optional
        Radial functions; by default a tenth of the number of pairs, at most 200.
    bandwidth : float
        Decay length of the radial functions, in units of the data's mean distance from their mean.
    degree : int
        Highest total degree of the polynomials, or highest wave number of the plane waves.
    period : float
        Period of each coordinate under the plane waves.
    n_delays : int
        Snapshots in a delay-embedded state; more than 1 needs X to be one trajectory.
    delay_stride : int
        Snapshots between the delays.
    measure_preserving : {"no", "circle", "gram"}
        What is known of the system. "circle": invertible and measure-preserving, the spectrum is on the unit circle and
        no residual is below the distance to it. "gram": also impose on the matrices what holds in the limit of many
        snapshots, for data along one trajectory. A warning says if the data do not look like it.
    n_modes : int or {"knee", "all"}
        Eigenpairs used in forecasts: as many of the least residuals, those before the knee of the residuals (which the
        paper keeps, and which pays where snapshots are few and noisy), or all.
    rcond : float
        Functions that depend on the others up to this are left out of the dictionary.
    n_jobs : int, optional
        Processes for residuals over many points (joblib's); None means 1.
    random_state : int, optional
        Seed of k-means.

    Attributes
    ----------
    eigenvalues_, residuals_ : ndarray of shape (rank,)
        Of EDMD, the least residual first. Residuals are over the training pairs; `pair_residuals` gives them over others.
    eigenvectors_ : ndarray of shape (n_functions, rank)
        Coefficients of the eigenfunctions in the dictionary.
    modes_ : ndarray of shape (n_modes_, n_features)
        Koopman modes of the state for the eigenpairs kept.
    n_modes_ : int
    rank_ : int
        Independent functions of the dictionary.
    operator_ : CompressedOperator
        The operator with its defect, which answers everything else.
    dictionary_ : Dictionary

    See Also
    --------
    KernelResidualDMD : for fewer snapshots than functions.

    References
    ----------
    M. J. Colbrook, I. Mezić, A. Stepanenko, Limits and Powers of Koopman Learning, 2024, arXiv:2407.06312.

    Examples
    --------
    A rotation by a fifth of a turn has the fifth roots of unity as its spectrum:

    >>> from semigroup.data.dynamical_systems import rotation
    >>> pairs = rotation(100)
    >>> model = ResidualDMD(dictionary="fourier", degree=6).fit(pairs.X, pairs.Y)
    >>> found = model.certified_spectrum("circle", spacing=2 * np.pi / 60)
    >>> found
    Spectrum(5 eigenvalues, certificate ...e-..., from circle)
    >>> np.sort(np.angle(found.eigenvalues) / (2 * np.pi)).round(3)
    array([-0.4, -0.2,  0. ,  0.2,  0.4])

    A scalar time series goes in as one column, with delays:

    >>> wave = np.cos(0.3 * np.arange(400.0))[:, None]
    >>> model = ResidualDMD(dictionary="linear", n_delays=2).fit(wave)
    >>> bool(abs(model.forecast(50)[-1, 0] - np.cos(0.3 * 449)) < 1e-9)
    True
    """

    def __init__(
        self,
        *,
        dictionary: Literal["radial-basis", "linear", "polynomial", "fourier"] = "radial-basis",
        n_centres: int | None = None,
        bandwidth: float = 0.5,
        degree: int = 3,
        period: float = 2 * np.pi,
        n_delays: int = 1,
        delay_stride: int = 1,
        measure_preserving: Literal["no", "circle", "gram"] = "no",
        n_modes: int | Literal["knee", "all"] = "all",
        rcond: float = 1e-10,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.dictionary = dictionary
        self.n_centres = n_centres
        self.bandwidth = bandwidth
        self.degree = degree
        self.period = period
        self.n_delays = n_delays
        self.delay_stride = delay_stride
        self.measure_preserving = measure_preserving
        self.n_modes = n_modes
        self.rcond = rcond
        self.n_jobs = n_jobs
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X: Any, Y: Any = None, *, weights: Any = None) -> "ResidualDMD":
        """Learn the operator from snapshots.

        Parameters
        ----------
        X : array-like or Tensor of shape (n_samples, n_features)
            States. Without `Y` they are one trajectory, equally spaced in time.
        Y : array-like or Tensor of shape (n_samples, n_features), optional
            The state one step after each row of `X`. A vector beside states of several coordinates (the target that
            scikit-learn's pipelines pass along) is ignored.
        weights : array-like of shape (n_pairs,), optional
            Positive quadrature weights of the pairs; equal by default, as is right for random or ergodic data.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range; if X and Y do not match, hold NaN or infinity, or give fewer pairs than the
            dictionary has functions; if X is shorter than its delays.
        """
        self._check_shared()
        check_choice(self.dictionary, "dictionary", ("radial-basis", "linear", "polynomial", "fourier"))
        if self.n_centres is not None:
            check_integer(self.n_centres, "n_centres", minimum=1)
        check_number(self.bandwidth, "bandwidth", above=0)
        check_integer(self.degree, "degree", minimum=0)
        check_number(self.period, "period", above=0)
        check_number(self.rcond, "rcond", minimum=0, below=1)
        before, after = self._pairs(X, Y)
        check_weights(weights, len(before))  # before the work on the dictionary
        self.dictionary_ = self._make_dictionary(before, after)
        operator = compress(self.dictionary_, before, after, weights, rcond=self.rcond)
        operator = CompressedOperator(
            operator.compression,
            operator.defect,
            operator.basis,
            isometry_gap=operator.isometry_gap,
            n_jobs=self.n_jobs,
        )
        self.rank_ = operator.rank
        self._finish(operator, before, after, is_chain=bool(np.array_equal(before[1:], after[:-1])))
        return self

    def _make_dictionary(self, before: np.ndarray, after: np.ndarray) -> Dictionary:
        """The dictionary, placed on the states."""
        width = before.shape[1]
        if self.dictionary == "linear":
            return Linear(width)
        if self.dictionary == "fourier":
            return Fourier.up_to(self.degree, width, float(self.period))
        states = np.vstack([before, after])
        if self.dictionary == "polynomial":
            return Legendre.from_data(states, self.degree)
        n_centres = self.n_centres or max(1, min(MAX_CENTRES, len(before) // PAIRS_PER_CENTRE))
        if n_centres > len(before):
            raise ValueError(
                f"n_centres must be at most the number of snapshot pairs, {len(before)}, got {n_centres}: every residual "
                "would be 0. Use fewer, or KernelResidualDMD, which is made for few snapshots"
            )
        centres = kmeans_centres(states, n_centres, numpy_generator(self.random_state))
        return RadialBasis(centres, float(self.bandwidth * mean_centred_norm(states)))

    def _features(self, embedded: np.ndarray) -> np.ndarray:
        return self.dictionary_(embedded)

    def pair_residuals(self, X: Any, Y: Any) -> np.ndarray:
        """Residual of each eigenpair on other snapshot pairs (§A4): the honest ones, where training data are few.

        Parameters
        ----------
        X, Y : array-like or Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (rank,)
            In the order of ``eigenvalues_``.
        """
        before, after = self._embedded(X), self._embedded(Y)
        if before.shape != after.shape:
            raise ValueError(f"X and Y must have as many rows as each other, got {len(before)} and {len(after)}")
        return pair_residuals(self._features(before), self._features(after), self.spectrum_)

    def spectral_measure(self, theta: Any, observable: Any, *, epsilon: float = 0.1, order: int = 4) -> np.ndarray:
        r"""Smoothed spectral measure of an observable of a measure-preserving system (§A8).

        Parameters
        ----------
        theta : array-like
            Angles.
        observable : array-like of shape (n_functions,)
            Its coefficients in the dictionary.
        epsilon : float
            Smoothing.
        order : int
            Order of the kernel: the error is :math:`O(\epsilon^m \log(1/\epsilon))` where the density is smooth.

        Returns
        -------
        ndarray of the shape of `theta`
        """
        check_is_fitted(self)
        coefficients = check_array(observable, "observable", ndim=1, dtype=np.complex128)
        if len(coefficients) != len(self.operator_.basis):
            raise ValueError(
                f"observable must have {len(self.operator_.basis)} coefficients, one a function, got {len(coefficients)}"
            )
        inside = scipy.linalg.lstsq(self.operator_.basis, coefficients)[0]
        return isometry_measure(self.operator_.koopman_matrix, inside, theta, epsilon=epsilon, order=order)


class KernelResidualDMD(_KoopmanEstimator):
    r"""Residual dynamic mode decomposition with a kernel, for fewer snapshots than functions or high-dimensional states.

    With as many functions as snapshots the residuals of right eigenvectors vanish identically and say nothing; those of
    left eigenvectors, which are eigenfunctions of the adjoint in the kernel's space, are exact for any number of snapshots.

    Parameters
    ----------
    kernel : {"gaussian", "laplacian", "lorentzian", "polynomial", "linear", "poly-exp"}
        See `semigroup.dynamics.koopman.kernel_matrix`.
    bandwidth : float
        The kernel's length in units of the data's (mean distance from the mean, or mean norm for "polynomial").
    degree : int
        Of the polynomial kernel.
    n_functions : int, optional
        Principal directions kept; all by default.
    cutoff : float
        Principal directions below this fraction of the largest are left out.
    n_delays : int
        Snapshots in a delay-embedded state; more than 1 needs X to be one trajectory.
    delay_stride : int
        Snapshots between the delays.
    measure_preserving : {"no", "circle", "gram"}
        As in `ResidualDMD`.
    n_modes : int or {"knee", "all"}
        Eigenpairs used in forecasts: as many of the least residuals, those before the knee of the residuals, or all.
    n_jobs : int, optional
        Processes for residuals over many points (joblib's); None means 1.

    Attributes
    ----------
    eigenvalues_, residuals_ : ndarray of shape (rank,)
        The residual is that of the left eigenvector, the least first.
    eigenvectors_ : ndarray of shape (n_snapshots, rank)
        Left eigenvectors: coefficients over the kernel functions at the snapshots.
    eigenfunctions_ : ndarray of shape (n_snapshots, rank)
        Right eigenvectors, in which states are expanded, likewise.
    modes_ : ndarray of shape (n_modes_, n_features)
    snapshots_ : ndarray of shape (n_snapshots, n_embedded)
    operator_ : CompressedOperator

    References
    ----------
    M. J. Colbrook, I. Mezić, A. Stepanenko, Limits and Powers of Koopman Learning, 2024, arXiv:2407.06312.

    Examples
    --------
    >>> t = 0.4 * np.arange(40)
    >>> wave = np.stack([np.cos(t), np.sin(t)], axis=1)
    >>> model = KernelResidualDMD(kernel="linear").fit(wave)
    >>> np.abs(np.angle(model.eigenvalues_)).round(6)
    array([0.4, 0.4])
    """

    def __init__(
        self,
        *,
        kernel: KernelName = "gaussian",
        bandwidth: float = 1.0,
        degree: int = 2,
        n_functions: int | None = None,
        cutoff: float = 1e-12,
        n_delays: int = 1,
        delay_stride: int = 1,
        measure_preserving: Literal["no", "circle", "gram"] = "no",
        n_modes: int | Literal["knee", "all"] = "knee",
        n_jobs: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.degree = degree
        self.n_functions = n_functions
        self.cutoff = cutoff
        self.n_delays = n_delays
        self.delay_stride = delay_stride
        self.measure_preserving = measure_preserving
        self.n_modes = n_modes
        self.n_jobs = n_jobs

    @all_or_nothing
    def fit(self, X: Any, Y: Any = None) -> "KernelResidualDMD":
        """Learn the operator from snapshots.

        Parameters
        ----------
        X, Y
            As in `ResidualDMD.fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range, or X and Y do not match, are too few, or hold NaN or infinity.
        """
        self._check_shared()
        check_choice(self.kernel, "kernel", tuple(KERNELS))
        check_number(self.bandwidth, "bandwidth", above=0)
        check_integer(self.degree, "degree", minimum=1)
        if self.n_functions is not None:
            check_integer(self.n_functions, "n_functions", minimum=1)
        check_number(self.cutoff, "cutoff", above=0, below=1)
        before, after = self._pairs(X, Y)
        self.snapshots_ = np.array(before, order="C")
        self.scale_ = float(self.bandwidth * kernel_scale(self.kernel, before))
        operator = CompressedOperator.from_kernel(
            self._kernel(before, before),
            self._kernel(after, before),
            self._kernel(after, after),
            n_functions=self.n_functions,
            cutoff=self.cutoff,
        )
        operator = CompressedOperator(
            operator.compression,
            operator.defect,
            operator.basis,
            adjoint=True,
            isometry_gap=operator.isometry_gap,
            n_jobs=self.n_jobs,
        )
        self.rank_ = operator.rank
        self._finish(operator, before, after, is_chain=bool(np.array_equal(before[1:], after[:-1])))
        return self

    def _kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return kernel_matrix(self.kernel, x, y, self.scale_, self.degree)

    def _features(self, embedded: np.ndarray) -> np.ndarray:
        return self._kernel(embedded, self.snapshots_)

    def _eigenpairs(self, operator: CompressedOperator) -> tuple[Spectrum, Inexact[np.ndarray, "m k"]]:
        """Left eigenpairs carry the residuals; states are expanded in the right eigenvectors of the same eigenvalues."""
        spectrum = operator.eigenpairs()
        left = np.linalg.lstsq(operator.basis, spectrum.vectors, rcond=None)[0]
        # Right eigenvectors are the dual basis of the left ones, in the same order.
        right = np.linalg.pinv(left.conj().T)
        return spectrum, operator.basis @ (right / np.linalg.norm(right, axis=0))


def _to_numpy(value: Any) -> Any:
    """A tensor as an array, anything else as it is."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _like(result: np.ndarray, like: Any) -> Any:
    """Numpy in, numpy out; torch in, torch out on its device."""
    return in_kind(torch.from_numpy(np.ascontiguousarray(result)), like) if isinstance(like, Tensor) else result
