"""Koopman spectra with certificates: the mathematics, the estimators, the systems they are tried on."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from semigroup.catalog import method
from semigroup.data import dynamical_systems as systems
from semigroup.data.datasets import download
from semigroup.dynamics.koopman import (
    FILTERS,
    KERNELS,
    CompressedOperator,
    Fourier,
    KernelResidualDMD,
    Legendre,
    RadialBasis,
    ResidualDMD,
    Spectrum,
    circle_candidates,
    compress,
    confuse,
    delay_embedding,
    grid_candidates,
    isometry_measure,
    kernel_matrix,
    kernel_scale,
    kmeans_centres,
    knee,
    local_minimisers,
    moment_density,
    moments,
    pair_residuals,
    point_mass,
    point_spectrum_fraction,
)
from semigroup.dynamics.koopman.spectrum import whole_pairs
from semigroup.jobs import Context

seeds = st.integers(0, 2**32 - 1)


def random_operator(n: int, seed: int, dtype: type = complex, m: int | None = None) -> CompressedOperator:
    """The operator of random pairs, far from normal."""
    generator = np.random.default_rng(seed)
    m = m or 3 * n
    psi_x, psi_y = generator.normal(size=(2, m, n))
    if dtype is complex:
        return CompressedOperator.from_pairs(psi_x + 1j * psi_y[::-1], psi_y - 1j * psi_x[::-1])
    return CompressedOperator.from_pairs(psi_x, 0.3 * psi_y + 0.6 * np.roll(psi_x, 1, axis=1))


def dense_residual(operator: CompressedOperator, z: complex) -> float:
    """The definition, by a plain singular value decomposition."""
    stacked = np.vstack([operator.compression - z * np.eye(operator.rank), operator.defect])
    return float(np.linalg.svd(stacked, compute_uv=False)[-1])


# --- scikit-learn ------------------------------------------------------------------------------------------------


# The test run checks the constructor's types, so that there a senseless argument fails at once.
TYPE_CHECKED = {"check_do_not_raise_errors_in_init_or_set_params": "the test run checks the constructor's types"}


@parametrize_with_checks(
    [
        ResidualDMD(random_state=0),
        ResidualDMD(dictionary="linear"),
        ResidualDMD(dictionary="polynomial", degree=1, measure_preserving="circle"),
        KernelResidualDMD(),
        KernelResidualDMD(kernel="polynomial", n_modes="all"),
    ],
    expected_failed_checks=lambda estimator: TYPE_CHECKED,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_estimator_keeps_scikit_learns_conventions(estimator, check):
    check(estimator)


def test_constructor_only_stores_whatever_it_is_given():
    program = (
        "from sklearn.utils.estimator_checks import check_do_not_raise_errors_in_init_or_set_params as check\n"
        "from semigroup.dynamics import KernelResidualDMD, ResidualDMD\n"
        "check('ResidualDMD', ResidualDMD())\n"
        "check('KernelResidualDMD', KernelResidualDMD())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_estimator_works_at_the_end_of_a_pipeline_of_a_trajectory():
    wave = np.stack([np.cos(0.2 * np.arange(200)), 5 + 3 * np.sin(0.2 * np.arange(200))], axis=1)
    model = make_pipeline(StandardScaler(), ResidualDMD(dictionary="linear")).fit(wave)
    assert np.abs(np.abs(np.angle(model[-1].eigenvalues_)) - 0.2).max() < 1e-3


# --- the residual function ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 10])
def test_residual_of_the_doubling_map_is_the_exact_one_to_rounding(n):
    pairs = systems.doubling_map(2 ** (n + 2))
    operator = compress(lambda x: np.exp(2j * np.pi * x * 2.0 ** np.arange(n)), pairs.X, pairs.Y)
    z = np.array([[0.3, 1.0, 1j], [-0.7 + 0.2j, 1.4, 0.0]])
    exact = np.sqrt(np.maximum(1 + np.abs(z) ** 2 - 2 * np.abs(z) * np.cos(np.pi / (n + 1)), 0))
    assert operator.residual(z).shape == z.shape
    assert np.abs(operator.residual(z) - exact).max() < 1e-12


def test_edmd_sees_only_the_eigenvalue_zero_of_the_doubling_map():
    pairs = systems.doubling_map(256)
    operator = compress(lambda x: np.exp(2j * np.pi * x * 2.0 ** np.arange(6)), pairs.X, pairs.Y)
    spectrum = operator.eigenpairs()
    assert np.abs(spectrum.eigenvalues).max() < 0.05
    assert spectrum.distances(pairs.spectrum).min() > 0.95
    assert spectrum.certificate > 0.95


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("n", [5, 40, 41, 90])
def test_residual_is_the_least_singular_value_at_every_size(n, dtype):
    operator = random_operator(n, seed=n, dtype=dtype)
    z = np.array([0.1, -0.4j, 0.7 + 0.7j, 0.7 - 0.7j, 1.2])
    expected = [dense_residual(operator, point) for point in z]
    assert np.allclose(operator.residual(z), expected, rtol=1e-9, atol=1e-13)


def test_residual_vanishes_to_rounding_at_an_eigenvalue_of_an_invariant_space():
    angles = 2 * np.pi * np.arange(60) / 60
    diagonal = CompressedOperator.from_isometry(np.diag(np.exp(1j * angles)))
    residual = diagonal.residual(np.exp(1j * angles[[0, 7, 30]]))
    # The form that squares, sqrt(lambda_min(L - z A* - conj(z) A + |z|^2)), would stop at 1e-8.
    assert residual.max() < 1e-14


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("least", [1e-1, 1e-2, 1e-4, 1e-7, 1e-12])
def test_residual_is_exact_however_small_and_however_crowded_the_singular_values_are(least, dtype):
    generator = np.random.default_rng(0)
    singular = np.geomspace(1, 2, 50)
    singular[:4] = least * np.array([1, 1 + 1e-9, 1 + 1e-3, 2])
    left, right = (
        np.linalg.qr(generator.normal(size=shape).astype(dtype) * (1 if dtype is float else 1 + 1j))[0]
        for shape in ((100, 50), (50, 50))
    )
    stacked = left * singular @ right.conj().T
    shift = 0.3 if dtype is float else 0.3 + 0.2j
    operator = CompressedOperator(stacked[:50] + shift * np.eye(50), stacked[50:], np.eye(50))
    assert operator.residual(shift) == pytest.approx(least, rel=1e-9, abs=1e-14)
    vector = operator.pseudoeigenvectors(shift)[:, 0]
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert np.linalg.norm(stacked @ vector) == pytest.approx(least, rel=1e-8, abs=1e-14)


def test_residual_is_the_least_singular_value_over_a_whole_portrait():
    pairs = systems.duffing(600, 5, random_state=0)
    operator = ResidualDMD(n_centres=70, random_state=0).fit(pairs.X, pairs.Y).operator_
    portrait = operator.pseudospectrum(9)
    expected = [[dense_residual(operator, z) for z in row] for row in portrait.points]
    assert np.allclose(portrait.residuals, expected, rtol=1e-11, atol=0)


def test_processes_give_the_same_residuals_as_one():
    operator = random_operator(45, seed=1, dtype=float)
    z = grid_candidates(0.2, 1.0)
    several = CompressedOperator(operator.compression, operator.defect, operator.basis, n_jobs=2)
    assert np.allclose(several.residual(z), operator.residual(z), rtol=1e-9, atol=0)


@given(seed=seeds, n=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_residual_changes_by_at_most_the_distance(seed, n):
    operator = random_operator(n, seed)
    generator = np.random.default_rng(seed)
    z = generator.normal(size=20) + 1j * generator.normal(size=20)
    residual = operator.residual(z)
    assert (np.abs(residual[:, None] - residual) <= np.abs(z[:, None] - z) + 1e-12).all()


@given(seed=seeds, n=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_residual_falls_when_functions_are_added(seed, n):
    generator = np.random.default_rng(seed)
    psi_x, psi_y = generator.normal(size=(2, 40, n + 1))
    z = generator.normal(size=10) + 1j * generator.normal(size=10)
    fewer = CompressedOperator.from_pairs(psi_x[:, :n], psi_y[:, :n]).residual(z)
    assert (CompressedOperator.from_pairs(psi_x, psi_y).residual(z) <= fewer + 1e-12).all()


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_residual_does_not_depend_on_the_basis_of_the_space(seed):
    generator = np.random.default_rng(seed)
    psi_x, psi_y = generator.normal(size=(2, 30, 5))
    change = np.linalg.qr(generator.normal(size=(5, 5)))[0] * generator.uniform(0.1, 10, size=5)
    z = generator.normal(size=10) + 1j * generator.normal(size=10)
    one = CompressedOperator.from_pairs(psi_x, psi_y)
    other = CompressedOperator.from_pairs(psi_x @ change, psi_y @ change)
    assert np.allclose(one.residual(z), other.residual(z), atol=1e-10)


def test_residual_matches_the_papers_hermitian_form():
    generator = np.random.default_rng(0)
    psi_x, psi_y = generator.normal(size=(2, 50, 6))
    weights = generator.uniform(0.5, 2, size=50)
    G, A, L = (a.T * weights @ b for a, b in ((psi_x, psi_x), (psi_x, psi_y), (psi_y, psi_y)))
    operator = CompressedOperator.from_pairs(psi_x, psi_y, weights)
    for z in (0.3 + 0.1j, -1.0, 2j):
        form = L - z * A.T - np.conj(z) * A + abs(z) ** 2 * G
        least = scipy.linalg.eigh(form, G, eigvals_only=True)[0]
        assert operator.residual(z) == pytest.approx(np.sqrt(least), rel=1e-9)


def test_eigenpairs_are_those_of_extended_dmd_with_their_residuals():
    generator = np.random.default_rng(0)
    psi_x, psi_y = generator.normal(size=(2, 50, 6))
    operator = CompressedOperator.from_pairs(psi_x, psi_y)
    spectrum = operator.eigenpairs()
    expected = np.linalg.eigvals(np.linalg.lstsq(psi_x, psi_y, rcond=None)[0])
    assert np.allclose(np.sort_complex(spectrum.eigenvalues), np.sort_complex(expected))
    assert np.allclose(spectrum.residuals, pair_residuals(psi_x, psi_y, spectrum), rtol=1e-9)
    assert (operator.residual(spectrum.eigenvalues) <= spectrum.residuals + 1e-12).all()
    assert (np.diff(spectrum.residuals) >= -1e-12).all()


def test_pseudoeigenvectors_attain_the_residual_on_the_data():
    generator = np.random.default_rng(0)
    psi_x, psi_y = generator.normal(size=(2, 50, 6))
    operator = CompressedOperator.from_pairs(psi_x, psi_y)
    z = np.array([0.5, 0.2 + 0.9j])
    claimed = Spectrum(z, operator.residual(z), operator.pseudoeigenvectors(z), z, operator.residual(z))
    assert np.allclose(pair_residuals(psi_x, psi_y, claimed), claimed.residuals, rtol=1e-9)


def test_pieces_of_the_data_give_the_same_operator_as_the_whole():
    pairs = systems.duffing(2000, 5, random_state=0)  # 10 000 pairs: three pieces
    dictionary = RadialBasis(np.random.default_rng(0).uniform(-2, 2, size=(12, 2)), 0.8)
    pieces = compress(dictionary, pairs.X, pairs.Y)
    whole = CompressedOperator.from_pairs(dictionary(pairs.X), dictionary(pairs.Y))
    z = np.array([0.9, 0.3 + 0.9j])
    assert np.allclose(pieces.residual(z), whole.residual(z), rtol=1e-10)


def test_weight_two_is_the_pair_twice():
    generator = np.random.default_rng(0)
    psi_x, psi_y = generator.normal(size=(2, 20, 3))
    weights = np.array([2.0] * 5 + [1.0] * 15)
    twice = np.r_[np.arange(5), np.arange(20)]
    weighted = CompressedOperator.from_pairs(psi_x, psi_y, weights)
    repeated = CompressedOperator.from_pairs(psi_x[twice], psi_y[twice])
    assert weighted.residual(0.4j) == pytest.approx(float(repeated.residual(0.4j)), rel=1e-10)


def test_functions_that_depend_on_others_are_left_out_and_counted():
    generator = np.random.default_rng(0)
    psi_x, psi_y = generator.normal(size=(2, 60, 4))
    double_x, double_y = np.hstack([psi_x, psi_x[:, :2]]), np.hstack([psi_y, psi_y[:, :2]])
    operator = CompressedOperator.from_pairs(double_x, double_y)
    assert operator.rank == 4
    assert np.allclose(operator.residual([0.1, 1j]), CompressedOperator.from_pairs(psi_x, psi_y).residual([0.1, 1j]))


def test_isometric_gram_puts_the_identity_where_the_limit_has_it():
    wave = np.cos(0.3 * np.arange(300)) + np.cos(0.7 * np.arange(300))
    windows = delay_embedding(wave[:, None], 6)
    raw = CompressedOperator.from_pairs(windows[:-1], windows[1:])
    imposed = raw.with_isometric_gram()
    squared = imposed.compression.T @ imposed.compression + imposed.defect.T @ imposed.defect
    assert 0 < raw.isometry_gap < 0.05
    assert np.abs(squared - np.eye(imposed.rank)).max() < 0.05
    assert np.abs(np.abs(imposed.eigenpairs().eigenvalues) - 1).max() < 1e-2


def test_a_system_that_contracts_is_not_taken_for_measure_preserving():
    pairs = systems.duffing(200, 3, damping=0.9, random_state=0)
    with pytest.warns(UserWarning, match=r"‖L − G‖/‖G‖ = "):
        ResidualDMD(dictionary="linear", measure_preserving="circle").fit(pairs.X, pairs.Y)


# --- the certified algorithm ---------------------------------------------------------------------------------------


@given(seed=seeds, c=st.floats(0.5, 6))
@settings(max_examples=50, deadline=None)
def test_local_minimisers_are_those_of_the_definition(seed, c):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=60) + 1j * generator.normal(size=60)
    residuals = generator.uniform(0, 1.3, size=60)
    expected = set()
    for i in np.flatnonzero(residuals < 1):
        near = np.flatnonzero(np.abs(points - points[i]) <= c * residuals[i])
        expected.add(int(near[np.argmin(residuals[near])]))
    assert set(local_minimisers(points, residuals, c).tolist()) == expected


def test_both_halves_of_a_conjugate_pair_are_found():
    operator = random_operator(6, seed=3, dtype=float)
    found = operator.certified_spectrum("grid", spacing=0.05, radius=1.2).eigenvalues
    assert set(np.round(found, 9)) == set(np.round(found.conj(), 9))


KNOWN = {
    "rational rotation": (systems.rotation(400), Fourier.up_to(12, 1, 2 * np.pi)),
    "irrational rotation": (systems.rotation(400, angle=np.sqrt(2), order=None), Fourier.up_to(12, 1, 2 * np.pi)),
    "cat map": (systems.cat_map(24), Fourier.up_to(4, 2, 1.0)),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("candidates", ["grid", "circle"])
def test_no_certified_point_is_farther_from_the_spectrum_than_it_says(name, candidates):
    pairs, dictionary = KNOWN[name]
    found = compress(dictionary, pairs.X, pairs.Y).certified_spectrum(candidates, spacing=0.1)
    assert len(found) > 0
    assert (found.distances(pairs.spectrum) <= found.residuals + 1e-10).all()
    assert found.certificate == found.residuals.max()


def test_rotation_by_a_fifth_has_the_five_roots_and_no_more():
    pairs, dictionary = KNOWN["rational rotation"]
    found = compress(dictionary, pairs.X, pairs.Y).certified_spectrum("circle", spacing=2 * np.pi / 100)
    assert np.abs(np.sort_complex(found.eigenvalues**5) - 1).max() < 1e-12
    assert len(found) == 5
    assert found.certificate < 1e-13


def test_duffings_certificate_is_small_where_the_worst_eigenpair_of_edmd_is_not():
    train, test = systems.duffing(1000, 5, random_state=0), systems.duffing(400, 5, random_state=1)
    model = ResidualDMD(n_centres=60, measure_preserving="circle", random_state=0).fit(train.X, train.Y)
    assert model.pair_residuals(test.X, test.Y).max() > 0.8
    assert model.certified_spectrum("grid", spacing=0.1).certificate < 0.15


# --- kernels -----------------------------------------------------------------------------------------------------


def test_kernels_are_their_formulas():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(4, 3)), generator.normal(size=(5, 3))
    formulas = {
        "gaussian": lambda a, b, d: np.exp(-np.sum((a - b) ** 2) / d**2),
        "laplacian": lambda a, b, d: np.exp(-np.linalg.norm(a - b) / d),
        "lorentzian": lambda a, b, d: 1 / (1 + np.sum((a - b) ** 2) / d**2),
        "polynomial": lambda a, b, d: (1 + a @ b / d**2) ** 3,
        "linear": lambda a, b, d: a @ b,
        "poly-exp": lambda a, b, d: np.exp(-np.linalg.norm(a - b) / d) * (1 + a @ b / d**2) ** 20,
    }
    assert formulas.keys() == KERNELS.keys()
    for name, formula in formulas.items():
        expected = [[formula(a, b, 1.7) for b in y] for a in x]
        assert np.allclose(kernel_matrix(name, x, y, 1.7, degree=3), expected, rtol=1e-12), name


def test_kernel_lengths_are_the_datas():
    states = np.array([[3.0, 4.0], [3.0, 6.0]])
    assert kernel_scale("gaussian", states) == pytest.approx(1.0)
    assert kernel_scale("polynomial", states) == pytest.approx((5 + np.sqrt(45)) / 2)


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "lorentzian", "polynomial"])
def test_kernel_residual_is_that_of_the_left_eigenvector(kernel):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(25, 4))
    Y = X @ scipy.linalg.expm(0.3 * generator.normal(size=(4, 4)))
    model = KernelResidualDMD(kernel=kernel).fit(X, Y)
    d, S = model.scale_, model.operator_.basis
    gram, cross, images = (kernel_matrix(kernel, a, b, d) for a, b in ((X, X), (Y, X), (Y, Y)))
    K, L = S.T @ cross @ S, S.T @ images @ S
    values, left = scipy.linalg.eig(K, left=True, right=False)
    expected = np.sqrt(np.maximum((np.conj(left) * (L @ left)).sum(axis=0).real - np.abs(values) ** 2, 0))
    assert np.allclose(S.T @ gram @ S, np.eye(model.rank_), atol=1e-6)
    assert np.allclose(np.sort(model.residuals_), np.sort(expected), atol=1e-6)
    assert np.allclose(
        np.sort_complex(np.round(model.eigenvalues_, 6)), np.sort_complex(np.round(values, 6)), atol=1e-5
    )


def test_kernel_of_as_many_functions_as_snapshots_still_has_residuals():
    """Right residuals vanish identically there; left ones see that a random image is no function of the state."""
    generator = np.random.default_rng(0)
    model = KernelResidualDMD(kernel="laplacian").fit(generator.normal(size=(20, 30)), generator.normal(size=(20, 30)))
    right = model._features(model.snapshots_)
    assert np.linalg.matrix_rank(right) == 20
    assert model.residuals_.min() > 0.1


def test_kernel_method_finds_the_frequency_of_few_snapshots_of_many_coordinates():
    t = 0.4 * np.arange(30)
    field = np.outer(np.cos(t), np.linspace(0, 1, 500)) + np.outer(np.sin(t), np.linspace(1, -1, 500))
    model = KernelResidualDMD(kernel="linear", cutoff=1e-10).fit(field)
    assert np.abs(np.abs(np.angle(model.eigenvalues_)) - 0.4).max() < 1e-9
    assert model.residuals_.max() < 1e-6
    ahead = model.forecast(40)
    t_ahead = 0.4 * np.arange(30, 70)
    truth = np.outer(np.cos(t_ahead), np.linspace(0, 1, 500)) + np.outer(np.sin(t_ahead), np.linspace(1, -1, 500))
    assert np.abs(ahead - truth).max() < 1e-6


def test_kernel_eigenfunctions_solve_the_compressed_eigenproblem():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(25, 4))
    model = KernelResidualDMD(kernel="gaussian").fit(X, 0.5 * X + 0.1)
    S, K = model.operator_.basis, model.koopman_matrix_
    right = np.linalg.lstsq(S, model.eigenfunctions_, rcond=None)[0]
    assert np.abs(K @ right - right * model.eigenvalues_).max() < 1e-6


# --- dictionaries ------------------------------------------------------------------------------------------------


def test_legendre_functions_span_all_polynomials_of_the_degree():
    states = np.random.default_rng(0).uniform(-3, 5, size=(200, 2))
    values = Legendre.from_data(states, 3)(states)
    assert values.shape == (200, 10)
    cubic = states[:, 0] ** 2 * states[:, 1] - 4 * states[:, 1] ** 3 + 2
    fitted = values @ np.linalg.lstsq(values, cubic, rcond=None)[0]
    assert np.abs(fitted - cubic).max() < 1e-10
    assert np.linalg.cond(values) < 20


def test_plane_waves_are_orthonormal_on_a_grid():
    side = np.arange(8) / 8
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    values = Fourier.up_to(2, 2, 1.0)(grid)
    assert np.abs(values.conj().T @ values / 64 - np.eye(25)).max() < 1e-13


def test_delay_windows_end_with_the_current_state():
    series = np.arange(20.0).reshape(10, 2)
    windows = delay_embedding(series, n_delays=3, stride=2)
    assert windows.shape == (6, 6)
    assert np.array_equal(windows[:, -2:], series[4:])
    assert np.array_equal(windows[0], [0, 1, 4, 5, 8, 9])


def test_centres_lie_among_the_states():
    states = np.random.default_rng(0).uniform(-1, 1, size=(5000, 2))
    centres = kmeans_centres(states, 20, np.random.default_rng(0))
    assert centres.shape == (20, 2)
    assert np.abs(centres).max() < 1


# --- spectral measures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "errors"), [(1, (0.4620, 0.2649)), (2, (0.1129, 0.03625)), (4, (0.005562, 0.000543))]
)
def test_spectral_measure_of_the_cmv_matrix_converges_to_the_wrapped_gaussian(order, errors):
    matrix, f, theta = systems.cmv_matrix(300), np.eye(300)[0], np.array([0, 0.2, 0.5, 1, 2, 3])
    for epsilon, expected in zip((0.1, 0.05), errors):
        measured = isometry_measure(matrix, f, theta, epsilon=epsilon, order=order)
        assert np.abs(measured - systems.cmv_density(theta)).max() == pytest.approx(expected, rel=0.02)


def test_spectral_measure_takes_a_schur_form_as_it_is():
    matrix, theta = systems.cmv_matrix(40), np.linspace(-3, 3, 7)
    triangle, unitary = scipy.linalg.schur(matrix, output="complex")
    direct = isometry_measure(matrix, np.eye(40)[0], theta, epsilon=0.3)
    assert np.allclose(isometry_measure(triangle, unitary[0].conj(), theta, epsilon=0.3), direct, rtol=1e-10)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_spectral_measure_of_an_eigenfunction_sits_at_its_angle_with_its_mass(order):
    theta = np.linspace(-np.pi, np.pi, 4001)[:-1]
    nu = isometry_measure(np.diag(np.exp([0.7j, -2.0j])), [3.0, 0.0], theta, epsilon=0.05, order=order)
    assert theta[np.argmax(nu)] == pytest.approx(0.7, abs=2e-3)
    assert nu.mean() * 2 * np.pi == pytest.approx(9.0, rel=1e-6)


def test_spectral_measure_does_not_depend_on_the_basis():
    generator = np.random.default_rng(0)
    unitary = scipy.linalg.expm(1j * (lambda H: H + H.conj().T)(generator.normal(size=(6, 6)) * (1 + 0.5j)))
    change = np.linalg.qr(generator.normal(size=(6, 6)) + 1j * generator.normal(size=(6, 6)))[0]
    f, theta = generator.normal(size=6), np.linspace(-3, 3, 7)
    one = isometry_measure(unitary, f, theta, epsilon=0.2)
    other = isometry_measure(change.conj().T @ unitary @ change, change.conj().T @ f, theta, epsilon=0.2)
    assert np.allclose(one, other, rtol=1e-10)


def test_estimators_spectral_measure_is_that_of_the_observable_given_by_its_coefficients():
    pairs = systems.rotation(100, angle=1.0, order=None)
    model = ResidualDMD(dictionary="fourier", degree=3).fit(pairs.X, pairs.Y)
    theta = np.linspace(-np.pi, np.pi, 2001)[:-1]
    wave = np.eye(7)[model.dictionary_.wave_numbers[:, 0].tolist().index(2)]
    nu = model.spectral_measure(theta, wave, epsilon=0.05, order=2)
    assert theta[np.argmax(nu)] == pytest.approx(2.0, abs=4e-3)
    assert nu.mean() * 2 * np.pi == pytest.approx(1.0, rel=1e-6)


def test_moments_are_the_sums_of_the_definition():
    generator = np.random.default_rng(0)
    g = generator.normal(size=50) + 1j * generator.normal(size=50)
    mu = moments(g, 7)
    for n in range(8):
        expected = np.sum(g[: 50 - n] * g[n:].conj()) / (2 * np.pi * (50 - n))
        assert mu[7 + n] == pytest.approx(expected)
        assert mu[7 - n] == pytest.approx(np.conj(expected))


@pytest.mark.parametrize("name", FILTERS)
def test_filters_fall_from_one_to_zero_and_find_an_atom(name):
    x = np.linspace(0, 1, 200)
    values = FILTERS[name](x)
    assert values[0] == pytest.approx(1)
    assert values[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(values) <= 1e-12).all()
    mu = moments(np.exp(1.1j * np.arange(3000)), 200)
    theta = np.linspace(-np.pi, np.pi, 2001)[:-1]
    density = moment_density(mu, theta, filter=name)
    assert theta[np.argmax(density)] == pytest.approx(1.1, abs=4e-3)
    assert density.mean() * 2 * np.pi == pytest.approx(1, rel=1e-9)
    assert point_mass(mu, [1.1, -1.1], filter=name) == pytest.approx([1, 0], abs=0.01)


def test_both_ways_to_the_spectral_measure_agree():
    """The density of the autoregressive process x' = 0.8 x + noise, whose moments decay by 0.8 a step."""
    exact_moments = 0.8 ** np.abs(np.arange(-200, 201)) / (2 * np.pi) + 0j
    theta = np.linspace(-3, 3, 13)
    exact = (1 - 0.64) / (1 - 1.6 * np.cos(theta) + 0.64) / (2 * np.pi)
    assert np.allclose(moment_density(exact_moments, theta, filter="bump"), exact, atol=1e-8)
    # 0.8 times a shift is the compression of an isometry (Sz.-Nagy's dilation) with the same moments.
    assert np.allclose(isometry_measure([[0.8]], [1.0], theta, epsilon=1e-3, order=4), exact, atol=1e-6)


def test_periodic_motion_is_point_spectrum_and_noise_is_not():
    t = np.arange(6000)
    quasi_periodic = np.cos(0.5 * t) + np.cos(np.sqrt(2) * t)
    noise = np.random.default_rng(0).normal(size=6000)
    options = {"n_delays": 8, "stride": 3, "n_lags": 2000, "n_samples": 4000}
    assert point_spectrum_fraction(quasi_periodic, **options)[-1, -1] > 0.99
    assert point_spectrum_fraction(noise, **options)[-1, -1] < 0.02


def test_rage_by_correlations_equals_rage_by_projections():
    g = np.random.default_rng(0).normal(size=300)
    fast = point_spectrum_fraction(g, n_delays=3, stride=2, n_lags=50, n_samples=200)
    g = g - g.mean()
    Q = np.linalg.qr(np.stack([g[2 * j : 2 * j + 200] for j in range(3)], axis=1))[0]
    for n in (1, 3):
        kept = [np.sum((Q[:, :n].T @ g[lag : lag + 200]) ** 2) / np.sum(g[:200] ** 2) for lag in range(51)]
        assert fast[n - 1, -1] == pytest.approx(np.minimum(kept, 1).mean())


def test_rage_tells_the_cavitys_periodic_flow_from_its_chaotic_one(shared_data: Path):
    energy = download(systems.CAVITY)
    periodic, chaotic = (
        point_spectrum_fraction(energy[name], n_lags=10_000, n_samples=10_000)[-1, -1]
        for name in ("Re13000", "Re30000")
    )
    assert periodic == pytest.approx(1.000, abs=0.005)
    assert chaotic == pytest.approx(0.157, abs=0.005)


# --- the adversary -----------------------------------------------------------------------------------------------


def edmd(F):
    x = np.random.default_rng(0).uniform(0.05, 1, size=(80, 2)) * [1, 2 * np.pi]
    psi = lambda s: np.exp(1j * np.outer(s[:, 1], np.arange(-2, 3)))  # noqa: E731
    return compress(psi, x, F(x)).eigenpairs().eigenvalues


def certified(F):
    x = np.random.default_rng(0).uniform(0.05, 1, size=(80, 2)) * [1, 2 * np.pi]
    psi = lambda s: np.exp(1j * np.outer(s[:, 1], np.arange(-2, 3)))  # noqa: E731
    return compress(psi, x, F(x)).certified_spectrum("circle", spacing=0.05).eigenvalues


def adaptive(F):
    """Bisects towards the radius where it has seen the fastest rotation, for what good that does."""
    radii = np.array([0.2, 0.9])
    for _ in range(12):
        states = np.stack([radii, np.zeros_like(radii)], axis=1)
        turn = F(states)[:, 1]
        radii = np.sort(np.append(radii, radii[np.argmax(turn)] / 2 + radii.mean() / 2))
    return np.exp(1j * turn)


@pytest.mark.parametrize("algorithm", [edmd, certified, adaptive])
def test_no_algorithm_tells_the_adversarys_two_systems_apart(algorithm):
    result = confuse(algorithm)
    assert result.identical
    assert max(result.errors) >= result.bound == pytest.approx(0.38268, abs=1e-5)


def test_adversarys_systems_do_differ_between_the_samples():
    result = confuse(adaptive)
    radius = np.array([[result.bumped.centre, 0.0]])
    assert result.bumped(radius)[0, 1] != result.rational(radius)[0, 1]
    assert result.bumped.spectrum.points is None
    assert len(result.rational.spectrum.points) == 4


# --- small tools -------------------------------------------------------------------------------------------------


def test_knee_is_the_best_split_of_two_lines():
    curve = np.sort(np.random.default_rng(0).uniform(size=30)) ** 4

    def error(values):
        x = np.arange(len(values))
        return np.abs(values - np.polyval(np.polyfit(x, values, 1), x)).sum()

    best = min(range(1, 29), key=lambda k: error(curve[: k + 1]) + error(curve[k:]))
    assert knee(curve) == best + 1
    assert knee(np.r_[np.linspace(0, 0.1, 10), np.linspace(0.1, 5, 10)[1:]]) == 10


def test_conjugate_pairs_are_not_cut():
    values = np.array([1.0, 0.5 + 0.5j, 0.5 - 0.5j, 0.2])
    assert [whole_pairs(values, n) for n in range(5)] == [0, 1, 3, 3, 4]


def test_candidates_cover_the_square_and_the_circle():
    grid = grid_candidates(0.5, 1.0)
    assert len(grid) == 25
    assert 0 in grid
    assert set(grid) == set(grid.conj())
    circle = circle_candidates(0.1)
    assert np.abs(np.diff(circle)).max() <= 0.1
    assert circle[0] == 1


def test_spectrum_answers_the_next_question():
    values = np.exp([0.1, 0.4j, -0.4j, -2.0])
    residuals = np.array([0.01, 0.02, 0.02, 0.7])
    spectrum = Spectrum(values, residuals, np.eye(4), values, residuals, "eigenvalues")
    assert spectrum.certificate == 0.7
    assert len(spectrum.within(0.1)) == 3
    assert len(spectrum.up_to_knee()) == 3
    assert spectrum.frequencies(dt=0.5)[1] == pytest.approx(0.4 / np.pi)
    assert spectrum.growth_rates(dt=0.5)[3] == pytest.approx(-4)
    assert spectrum.distances(np.array([1.0 + 0j])).argmin() == 0
    assert list(spectrum.table().columns)[:4] == ["real", "imaginary", "modulus", "residual"]
    assert "not seen" in repr(spectrum)
    assert np.isnan(spectrum.within(0.0).certificate)


def test_pseudospectrum_of_a_real_system_is_symmetric_and_grows_with_the_tolerance():
    portrait = random_operator(5, seed=0, dtype=float).pseudospectrum(21)
    assert np.array_equal(portrait.residuals, portrait.residuals[::-1])
    assert 0 <= portrait.area(0.3) < portrait.area(0.9) <= 9.01
    assert portrait.points.shape == portrait.residuals.shape


# --- systems -----------------------------------------------------------------------------------------------------


def test_undamped_duffing_keeps_its_energy_and_damped_loses_it():
    def energy(state):
        return state[:, 1] ** 2 / 2 - state[:, 0] ** 2 / 2 + state[:, 0] ** 4 / 4

    free, damped = systems.duffing(300, 4, random_state=0), systems.duffing(300, 4, damping=0.3, random_state=0)
    assert np.abs(energy(free.Y) - energy(free.X)).max() < 1e-9
    assert (energy(damped.Y) < energy(damped.X)).mean() > 0.99


def test_lorenz_and_rossler_stay_on_their_attractors():
    lorenz, rossler = systems.lorenz(2000, random_state=0), systems.rossler(2000, random_state=0)
    assert lorenz[:, 2].min() > 0
    assert lorenz[:, 2].mean() == pytest.approx(23.5, abs=1.0)
    assert np.abs(rossler[:, :2]).max() < 30
    assert rossler[:, 2].min() > 0


def test_wakes_frequencies_are_multiples_of_the_cycles():
    pairs = systems.cylinder_wake(400, dt=0.2)
    model = ResidualDMD(dictionary="polynomial", degree=4, rcond=1e-6).fit(pairs.X, pairs.Y)
    good = model.spectrum_.within(1e-3)
    multiples = np.angle(good.eigenvalues) / 0.2
    assert len(good) >= 5
    assert np.abs(multiples - np.round(multiples)).max() < 1e-2


def test_cmv_matrix_is_unitary_and_its_density_has_mass_one():
    matrix = systems.cmv_matrix(200)
    assert np.abs((matrix.T @ matrix - np.eye(200))[:195, :195]).max() < 1e-14
    theta = np.linspace(-np.pi, np.pi, 1001)[:-1]
    assert systems.cmv_density(theta).mean() * 2 * np.pi == pytest.approx(1)


def test_maps_permute_their_grids():
    for pairs in (systems.cat_map(6), systems.rotation(20, angle=np.pi / 5, order=10)):
        rounded = [set(map(tuple, np.round(a, 9) % 6.283185307)) for a in (pairs.X, pairs.Y)]
        assert rounded[0] == rounded[1]


def test_disc_map_knows_its_spectrum():
    assert len(systems.DiscMap(0.4).spectrum.points) == 5
    assert systems.DiscMap(np.sqrt(2) / 3).spectrum.points is None
    assert systems.DiscMap(0.25, amplitude=0.05).spectrum.points is None
    assert systems.disc_map(10, random_state=0).spectrum.distance(1j) == pytest.approx(0)


# --- the estimator -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> tuple[ResidualDMD, systems.SnapshotPairs]:
    pairs = systems.duffing(400, 5, random_state=0)
    return ResidualDMD(n_centres=60, n_modes="all", random_state=0).fit(pairs.X, pairs.Y), pairs


def test_forecasts_beat_persistence_and_linear_dmd():
    train, test = systems.duffing(400, 5, random_state=0), systems.duffing(200, 5, random_state=5)

    def error(model):
        return ((model.fit(train.X, train.Y).predict(test.X) - test.Y) ** 2).mean()

    with_certificates = error(ResidualDMD(n_centres=150, random_state=0))
    assert with_certificates < 0.5 * error(ResidualDMD(dictionary="linear"))
    assert with_certificates < 0.2 * ((test.X - test.Y) ** 2).mean()


def test_only_the_eigenpairs_asked_for_make_the_forecast():
    pairs = systems.duffing(100, 5, random_state=0)
    models = [ResidualDMD(n_centres=30, n_modes=n, random_state=0).fit(pairs.X, pairs.Y) for n in ("all", "knee", 5)]
    whole, before_knee, five = models
    assert whole.n_modes_ == whole.rank_ == 30
    assert 2 <= before_knee.n_modes_ < 30
    assert five.n_modes_ in (5, 6)  # a conjugate pair is not cut
    assert five.modes_.shape == (five.n_modes_, 2)


@pytest.mark.parametrize("model", [ResidualDMD(n_centres=30, random_state=0), KernelResidualDMD(n_modes=12)])
def test_modes_are_the_least_squares_coefficients_of_the_states(model):
    pairs = systems.duffing(40, 3, random_state=0)
    model.fit(pairs.X, pairs.Y)
    states = np.vstack([pairs.X, pairs.Y])
    functions = model.transform(states)[:, : model.n_modes_]
    expected = np.linalg.lstsq(functions, states.astype(complex), rcond=None)[0]
    assert np.allclose(functions @ model.modes_, functions @ expected, atol=1e-6)
    assert model.modes_.shape == (model.n_modes_, 2)


def test_forecast_begins_with_the_prediction_and_follows_a_linear_system_exactly():
    step = scipy.linalg.expm(np.array([[-0.05, 1.0], [-1.0, -0.05]]) * 0.2)
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = ResidualDMD(dictionary="linear", n_modes="all").fit(X, X @ step.T)
    forecast = model.forecast(30, X[:3])
    assert forecast.shape == (3, 30, 2)
    assert np.allclose(forecast[:, 0], model.predict(X[:3]))
    assert np.allclose(forecast[:, -1], X[:3] @ np.linalg.matrix_power(step, 30).T)
    assert np.allclose(model.forecast(1), (X[-1:] @ step.T) @ step.T)  # from the last image


def test_transform_gives_eigenfunctions_of_the_step(fitted):
    model, pairs = fitted
    before, after = model.transform(pairs.X), model.transform(pairs.Y)
    measured = np.linalg.norm(after - before * model.eigenvalues_, axis=0) / np.linalg.norm(before, axis=0)
    assert np.allclose(measured, model.residuals_, rtol=1e-6)
    assert model.features(pairs.X).shape == (2000, 60)


def test_same_seed_gives_the_same_model_and_the_caller_keeps_its_data(fitted):
    model, pairs = fitted
    copy = pairs.X.copy()
    again = clone(model).fit(pairs.X, pairs.Y)
    assert np.array_equal(again.eigenvalues_, model.eigenvalues_)
    assert np.array_equal(pairs.X, copy)


def test_tensors_come_back_as_tensors(fitted):
    model, pairs = fitted
    x = torch.from_numpy(pairs.X[:5])
    assert isinstance(model.predict(x), torch.Tensor)
    assert model.transform(x).is_complex()
    assert torch.allclose(model.predict(x), torch.from_numpy(model.predict(pairs.X[:5])))


def test_scalar_series_with_delays_is_forecast_by_its_frequencies():
    t = np.arange(600.0)
    wave = (np.cos(0.31 * t) + 0.5 * np.cos(0.77 * t + 1))[:, None]
    model = ResidualDMD(dictionary="linear", n_delays=4, delay_stride=2, n_modes="all").fit(wave[:500])
    assert np.abs(model.forecast(100) - wave[500:]).max() < 1e-6
    assert model.predict(wave[:20]).shape == (20 - 6, 1)


@pytest.mark.parametrize(
    "model",
    [
        ResidualDMD(n_centres=15, random_state=0),
        ResidualDMD(dictionary="polynomial"),
        ResidualDMD(dictionary="fourier", degree=2, measure_preserving="circle"),
        ResidualDMD(dictionary="linear"),
        KernelResidualDMD(n_functions=20),
    ],
    ids=lambda model: type(model).__name__ + "-" + getattr(model, "dictionary", "kernel"),
)
def test_stored_model_gives_the_same_answers(model, tmp_path):
    pairs = systems.duffing(60, 2, random_state=0)
    frame = pd.DataFrame(pairs.X, columns=["position", "velocity"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(frame, pairs.Y)
    model.save_pretrained(tmp_path / "model")
    loaded = type(model).from_pretrained(tmp_path / "model")
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    assert np.array_equal(loaded.residual([0.3, 1j]), model.residual([0.3, 1j]))
    assert list(loaded.feature_names_in_) == ["position", "velocity"]
    assert loaded.get_params() == model.get_params()
    assert not list((tmp_path / "model").glob("*.pkl"))


# --- bad input ---------------------------------------------------------------------------------------------------

PAIRS = np.random.default_rng(0).normal(size=(2, 60, 2))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"n_centres": 0}, "n_centres"),
        ({"n_centres": 61}, "KernelResidualDMD"),
        ({"dictionary": "polynomial", "degree": 15}, "KernelResidualDMD"),
        ({"dictionary": "wavelets"}, "dictionary"),
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"degree": -1}, "degree"),
        ({"dictionary": "fourier", "period": 0.0}, "period"),
        ({"n_delays": 0}, "n_delays"),
        ({"n_delays": 2}, "n_delays must be 1 where Y is given"),
        ({"delay_stride": 0}, "delay_stride"),
        ({"measure_preserving": "yes"}, "measure_preserving"),
        ({"n_modes": 0}, "n_modes"),
        ({"n_modes": "elbow"}, "n_modes"),
        ({"rcond": -1.0}, "rcond"),
    ],
)
def test_bad_hyperparameter_is_refused_by_name(arguments, names):
    with pytest.raises((ValueError, TypeError), match=names):
        ResidualDMD().set_params(**arguments).fit(*PAIRS)


def test_pairs_that_do_not_match_are_refused():
    X, Y = PAIRS
    with pytest.raises(ValueError, match="X and Y must have as many rows"):
        ResidualDMD().fit(X, Y[:-1])
    with pytest.raises(ValueError, match="Y must have 2 columns"):
        ResidualDMD().fit(X, np.ones((60, 3)))
    with pytest.raises(ValueError, match="Y holds NaN"):
        ResidualDMD().fit(X, np.where(np.arange(60)[:, None] == 3, np.nan, Y))
    with pytest.raises(ValueError, match="X contains NaN"):
        ResidualDMD().fit(np.where(np.arange(60)[:, None] == 3, np.nan, X), Y)
    with pytest.raises(ValueError, match="Complex data not supported"):
        KernelResidualDMD().fit(X + 1j, Y)
    with pytest.raises(ValueError, match="X and Y must have as many rows"):
        ResidualDMD().fit(X, Y).pair_residuals(X, Y[:-1])


@pytest.mark.parametrize("weights", [np.zeros(60), -np.ones(60), np.full(60, np.nan), np.ones(59)])
def test_weights_that_are_no_quadrature_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        ResidualDMD(dictionary="linear").fit(*PAIRS, weights=weights)


def test_vector_beside_states_of_several_coordinates_is_said_to_be_ignored():
    with pytest.warns(UserWarning, match="Y is a vector"):
        ResidualDMD(dictionary="linear").fit(PAIRS[0], np.ones(60))


def test_trajectory_shorter_than_its_delays_is_refused():
    with pytest.raises(ValueError, match="X is too short for its delays"):
        ResidualDMD(dictionary="linear", n_delays=10, delay_stride=7).fit(PAIRS[0])
    model = ResidualDMD(dictionary="linear", n_delays=3).fit(PAIRS[0])
    with pytest.raises(ValueError, match="X is too short for its delays"):
        model.predict(PAIRS[0][:2])


@pytest.mark.parametrize(
    ("dictionary", "message"),
    [
        (lambda x: x[:, 0], "dictionary must give values of shape"),
        (lambda x: np.ones((3, 2)), "dictionary must give values of shape"),
        (lambda x: x / np.zeros_like(x), "dictionary gave NaN or infinity"),
        (lambda x: np.zeros((len(x), 2)), "rank 0"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_dictionary_that_is_none_is_refused(dictionary, message):
    with pytest.raises(ValueError, match=message):
        compress(dictionary, *PAIRS)


def test_fewer_pairs_than_functions_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="KernelResidualDMD"):
        compress(lambda x: np.ones((len(x), 70)), *PAIRS)


def test_kernel_that_is_unknown_or_vanishes_is_refused():
    with pytest.raises(ValueError, match="kernel must be one of"):
        KernelResidualDMD().set_params(kernel="sinc").fit(*PAIRS)
    with pytest.raises(ValueError, match="rank 0"):
        KernelResidualDMD(kernel="linear").fit(np.zeros((5, 2)), np.zeros((5, 2)))


def test_questions_that_make_no_sense_are_refused():
    model = ResidualDMD(dictionary="linear").fit(*PAIRS)
    for call, names in [
        (lambda: model.residual([]), "z must have at least 1 rows"),
        (lambda: model.residual([np.nan]), "z holds NaN"),
        (lambda: model.certified_spectrum([]), "candidates must have at least 1 rows"),
        (lambda: model.certified_spectrum("everywhere"), "candidates"),
        (lambda: model.certified_spectrum(spacing=0), "spacing"),
        (lambda: model.certified_spectrum(neighbourhood=0), "neighbourhood"),
        (lambda: model.pseudospectrum(1), "n_points"),
        (lambda: model.pseudospectrum(9, real=(1.0, -1.0)), "the end of real"),
        (lambda: model.pseudospectrum(9, imaginary=(0.0, 0.0)), "the end of imaginary"),
        (lambda: model.forecast(0), "n_steps"),
        (lambda: model.spectral_measure(0.0, np.ones(2), epsilon=0), "epsilon"),
        (lambda: model.spectral_measure(0.0, np.ones(2), order=0), "order"),
        (lambda: model.spectral_measure(1j, np.ones(2)), "theta"),
        (lambda: model.spectral_measure(0.0, np.ones(3)), "observable"),
        (lambda: model.spectrum_.within(-1), "tolerance"),
        (lambda: moments(np.ones(5), 5), "series must be longer"),
        (lambda: moment_density(np.ones(5) + 0j, 0.0, filter="box"), "filter"),
        (lambda: point_spectrum_fraction(np.ones(50), n_delays=4, n_lags=40, n_samples=20), "series is too short"),
        (lambda: point_spectrum_fraction(np.ones(500), n_delays=2, n_lags=40), "series is constant"),
        (lambda: moment_density(np.ones(4) + 0j, 0.0), "moments"),
        (lambda: isometry_measure(np.full((2, 2), np.nan), np.ones(2), 0.0), "compression holds NaN"),
        (lambda: CompressedOperator.from_isometry(np.ones((2, 3))), "matrix must be square"),
        (lambda: CompressedOperator.from_isometry(np.full((2, 2), np.inf)), "matrix holds NaN"),
        (lambda: CompressedOperator.from_pairs(np.ones((5, 2)), np.ones((4, 2))), "psi_y must have the shape"),
        (lambda: CompressedOperator.from_pairs(np.full((5, 2), np.nan), np.ones((5, 2))), "psi_x holds NaN"),
    ]:
        with pytest.raises((ValueError, TypeError), match=names):
            call()


# --- the job -----------------------------------------------------------------------------------------------------


def test_job_reads_pairs_trajectories_and_series(tmp_path):
    job = method("koopman").job_module()
    np.savez(tmp_path / "pairs.npz", X=PAIRS[0], Y=PAIRS[1])
    pd.DataFrame(PAIRS[0], columns=["east", "north"]).to_csv(tmp_path / "path.csv", index=False)
    np.save(tmp_path / "series.npy", np.arange(30.0))
    np.save(tmp_path / "image.npy", PAIRS[1][:, :1])
    assert np.array_equal(job.read([tmp_path / "pairs.npz"]).Y, PAIRS[1])
    assert job.read([tmp_path / "path.csv"]).names == ("east", "north")
    assert job.read([tmp_path / "series.npy"]).X.shape == (30, 1)
    with pytest.raises(ValueError, match=r"image\.npy: Y must have the shape of X"):
        job.read([tmp_path / "path.csv", tmp_path / "image.npy"])
    with pytest.raises(ValueError, match="one file"):
        job.read([tmp_path / "path.csv"] * 3)


@pytest.mark.parametrize(
    "model", [ResidualDMD(dictionary="linear", n_delays=3), KernelResidualDMD(kernel="linear", n_delays=3)]
)
def test_job_on_a_trajectory_forecasts_its_end(model):
    job = method("koopman").job_module()
    t = np.arange(240.0)
    data = job.Snapshots(np.stack([np.cos(0.3 * t), np.sin(0.3 * t)], axis=1), None, ("x", "y"))
    outcome = job.perform(model, data, Context())
    assert outcome.metrics["one_step_error_fraction"] < 1e-6 < outcome.metrics["one_step_error_fraction_persistence"]
    assert set(outcome.pictures) == {"spectrum", "residuals", "forecast"}
    assert outcome.metrics["certificate"] >= outcome.tables["certified_spectrum"]["residual"].max()


def test_weights_are_refused_before_the_work_on_the_dictionary(monkeypatch):
    monkeypatch.setattr(ResidualDMD, "_make_dictionary", lambda *arguments: pytest.fail("made"))
    with pytest.raises(ValueError, match="weights must be > 0"):
        ResidualDMD().fit(*PAIRS, weights=np.zeros(len(PAIRS[0])))


def test_job_says_where_nothing_is_certified_and_keeps_the_names_of_compressed_columns(tmp_path, monkeypatch):
    job = method("koopman").job_module()
    pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["east", "north"]).to_csv(
        tmp_path / "noise.csv.gz", index=False
    )
    data = job.read([tmp_path / "noise.csv.gz"])
    assert data.names == ("east", "north")
    certified = ResidualDMD.certified_spectrum

    def none(self, *arguments, **options):
        found = certified(self, *arguments, **options)
        return found[np.zeros(len(found), dtype=bool)]

    monkeypatch.setattr(ResidualDMD, "certified_spectrum", none)
    outcome = job.perform(ResidualDMD(dictionary="linear"), data, Context())
    assert outcome.summary.startswith("No point of the spectrum can be certified") and "nan" not in outcome.summary
