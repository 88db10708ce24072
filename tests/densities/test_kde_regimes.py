"""Kernel density estimates and their regimes: closed forms, simulation, peers, bad input, storage."""

import math
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import gaussian_kde, kstest, ncx2
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KernelDensity

from semigroup.data.images import digits
from semigroup.densities import KDERegimes
from semigroup.densities.kde_regimes import (
    KERNELS,
    GaussianLaw,
    PointTiles,
    RadialKernel,
    SphereLaw,
    condensed_entropy,
    condensed_mean_log_sum,
    condensed_participation,
    cost,
    entropy_per_dimension,
    fluctuation_law,
    kl_bandwidth,
    kl_divergence,
    local_condensation,
    log_density_per_dimension,
    log_sums_on_device,
    mean_log_density,
    nearest_distances,
    phase_diagram,
    regime_of,
    thresholds,
    weight_sums,
)
from semigroup.jobs import Context
from semigroup.jobs.kde_regimes import Sample, perform, read
from semigroup.report.figures import save_png

SPECTRUM = np.array([4.0, 1.0, 1.0, 0.25, 0.0])
# alpha, h_G, h_CLT, h_*, divergence a dimension at h_* for an isotropic Gaussian
TABLE = [
    (0.05, 1.7331, 2.4509, 1.1459, 0.1862),
    (0.1, 1.3708, 1.9386, 1.0386, 0.1378),
    (0.2, 1.0457, 1.4788, 0.8917, 0.0854),
    (0.3, 0.8677, 1.2272, 0.7836, 0.0562),
    (0.5, 0.6521, 0.9223, 0.6224, 0.0259),
    (1.0, 0.3721, 0.5262, 0.3693, 0.0040),
    (2.0, 0.1354, 0.1914, 0.1353, 0.0001),
]
every_kernel = pytest.mark.parametrize("kernel", list(KERNELS))


def energies(n_trials: int, n: int, dim: int, seed: int = 0) -> np.ndarray:
    """|x - y|² / 2 from a typical point of an isotropic Gaussian."""
    return np.random.default_rng(seed).noncentral_chisquare(dim, dim, size=(n_trials, n)) / 2


def exact_sums(queries, points, kernel, bandwidth, drop_zero=False):
    """Log-sum, participation and entropy from the whole matrix of weights."""
    squared = cdist(queries, points, "sqeuclidean") / bandwidth**2
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(squared < KERNELS[kernel].support, KERNELS[kernel].log_profile(squared), -np.inf)
        logs = np.where((squared == 0) & drop_zero, -np.inf, logs)
        total = logsumexp(logs, axis=1)
        p = np.exp(logs - total[:, None])
        return total, (p**2).sum(1), -np.where(p > 0, p * np.log(p), 0 * p).sum(1)


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(0)
    return rng.standard_normal((300, 6)), rng.standard_normal((90, 6))


@pytest.fixture(scope="module")
def images():
    pixels = digits()[0].reshape(-1, 64)
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))]
    return pixels[:1400], pixels[1400:]


# --- free energy and thresholds ---


@pytest.mark.parametrize(("alpha", "condensation", "clt", "optimum", "divergence"), TABLE)
def test_thresholds_and_optimum_of_an_isotropic_gaussian(alpha, condensation, clt, optimum, divergence):
    found = thresholds(alpha)
    assert found.condensation == pytest.approx(condensation, abs=6e-5)
    assert found.clt == pytest.approx(clt, abs=6e-5) and found.clt == pytest.approx(math.sqrt(2) * found.condensation)
    h = found.condensation
    assert 0.5 * (math.log(1 + h**-2) - h**2 / (1 + h**2) ** 2) == pytest.approx(alpha)  # the closed form
    best = kl_bandwidth(alpha)
    assert best == pytest.approx(optimum, abs=6e-5)
    assert best**2 == pytest.approx(h**2 * (1 + 2 * h**2) / (1 + h**2) ** 2)
    assert float(kl_divergence(best, alpha)) == pytest.approx(divergence, abs=6e-5)


def test_free_energy_is_the_log_laplace_transform_of_the_distance():
    point = np.array([1.5, -0.3, 0.0, 0.4, 0.0])
    law, rng = GaussianLaw(SPECTRUM, point**2), np.random.default_rng(1)
    sample = (rng.standard_normal((1_000_000, 5)) * np.sqrt(SPECTRUM) - point) ** 2
    for a in (0.1, 1.0):
        assert 5 * law.free_energy(a) == pytest.approx(np.log(np.exp(-a * sample.sum(1) / 2).mean()), abs=5e-3)


@pytest.mark.parametrize("law", [GaussianLaw(SPECTRUM), GaussianLaw(SPECTRUM, SPECTRUM[::-1].copy()), SphereLaw(2.0)])
def test_squared_distance_and_curvature_are_derivatives_of_the_free_energy(law):
    a, step = np.geomspace(1e-2, 1e3, 9), 1e-4
    slope = (law.free_energy(a * (1 + step)) - law.free_energy(a * (1 - step))) / (2 * step * a)
    np.testing.assert_allclose(law.squared_distance(a), -2 * slope, rtol=1e-6)
    if isinstance(law, GaussianLaw):
        bend = (law.squared_distance(a * (1 + step)) - law.squared_distance(a * (1 - step))) / (2 * step * a)
        np.testing.assert_allclose(law.curvature(a), -bend / 2, rtol=1e-6)


def test_free_energy_of_the_sphere_is_the_large_deviation_of_its_angle():
    dim, a = 4000, 1.7

    def exponent(c):
        return (dim - 3) / 2 * np.log1p(-(c**2)) - a * dim * (1 - c)

    c = np.linspace(-0.999, 0.999, 400_001)
    expected = (logsumexp(exponent(c)) - logsumexp((dim - 3) / 2 * np.log1p(-(c**2)))) / dim
    assert SphereLaw().free_energy(a) == pytest.approx(expected, abs=1e-3)


def test_sphere_has_its_thresholds_in_closed_form():
    cosine = math.sqrt(1 - math.exp(-2 * 0.3))
    found = thresholds(0.3, SphereLaw(4.0))
    assert found.condensation == pytest.approx(math.sqrt(4 * (1 - cosine**2) / cosine))
    assert found.edge_squared_distance == pytest.approx(8 * (1 - cosine))


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.02, 2.0),
    st.lists(st.floats(0.01, 100.0), min_size=3, max_size=8),
    st.floats(0.1, 10.0),
)
def test_thresholds_scale_with_the_data_and_fall_with_alpha(alpha, spectrum, scale):
    values = np.array(spectrum)
    found = thresholds(alpha, values)
    assert float(cost(GaussianLaw(values), found.edge_rate)) == pytest.approx(alpha, rel=1e-8)
    assert thresholds(alpha, scale**2 * values).condensation == pytest.approx(scale * found.condensation, rel=1e-7)
    assert thresholds(1.1 * alpha, values).condensation < found.condensation
    assert kl_bandwidth(alpha, values) < found.condensation


def test_equal_eigenvalues_are_one_eigenvalue():
    assert thresholds(0.2, np.full(7, 2.0)).condensation == pytest.approx(thresholds(0.2, 2.0).condensation)


@pytest.mark.parametrize(("dim", "n"), [(10, 1000), (20, 55), (50, 22026), (64, 1400)])
def test_finite_edge_is_that_of_the_noncentral_chi_square(dim, n):
    nearest = ncx2.ppf(1 / n, dim, dim)
    rate = 2 * n * ncx2.pdf(nearest, dim, dim)
    found = thresholds(math.log(n) / dim, dim=dim, correction="finite")
    assert found.edge_squared_distance * dim == pytest.approx(nearest, rel=1e-3)
    assert found.condensation == pytest.approx(rate**-0.5, rel=1e-3)
    assert found.clt == pytest.approx((rate / 2) ** -0.5, rel=1e-3)


def test_finite_edge_of_two_eigenvalues_is_that_of_the_convolution():
    spectrum, n = np.repeat([3.0, 0.2], [4, 8]), 1000

    def below(squared):
        return quad(lambda t: ncx2.cdf((squared - t) / 3, 4, 4) * ncx2.pdf(t / 0.2, 8, 8) / 0.2, 0, squared)[0]

    nearest = brentq(lambda squared: n * below(squared) - 1, 0.1, 20)
    rate = math.log(below(1.001 * nearest) / below(0.999 * nearest)) / (0.001 * nearest)
    found = thresholds(math.log(n) / 12, spectrum, correction="finite")
    assert found.edge_squared_distance * 12 == pytest.approx(nearest, rel=1e-2)
    assert found.condensation == pytest.approx(rate**-0.5, rel=1e-2)


def test_numeric_route_agrees_with_the_closed_form_of_the_gaussian_kernel():
    same = RadialKernel("mine", lambda t: -t / 2)
    for correction in ("asymptotic", "finite"):
        expected = thresholds(0.2, dim=50, correction=correction)
        found = thresholds(0.2, dim=50, correction=correction, kernel=same)
        assert found.condensation == pytest.approx(expected.condensation, rel=1e-5)
        assert found.clt == pytest.approx(expected.clt, rel=1e-5)
    assert same.log_normalizer(50) == pytest.approx(25 * math.log(2 * math.pi))


@pytest.mark.parametrize("correction", ["asymptotic", "finite"])
@every_kernel
def test_tail_index_is_one_and_two_at_the_thresholds(kernel, correction):
    found = thresholds(0.3, kernel=kernel, dim=20, correction=correction)
    assert found.condensation <= found.clt * (1 + 1e-9)
    radius = math.sqrt(20 * found.edge_squared_distance)
    if kernel == "tophat":  # its weights are all alike, so that only the reach matters
        assert found.condensation == pytest.approx(radius, rel=1e-5) == found.clt
        assert found.regime(0.99 * radius) == "empty" and found.regime(1.01 * radius) == "clt"
        return
    assert found.tail_index(found.condensation) == pytest.approx(1, rel=1e-4)
    assert found.tail_index(found.clt) == pytest.approx(2, rel=1e-4)
    if kernel == "exponential":
        assert found.clt == pytest.approx(2 * found.condensation, rel=1e-5)
        assert found.condensation == pytest.approx(1 / (found.edge_rate * radius), rel=1e-5)
    reach = 1.0001 * radius if KERNELS[kernel].support == 1 else 0.0
    assert found.regime(max(0.9 * found.condensation, reach)) == "condensed"
    assert found.regime(1.01 * found.condensation) == "stable"
    assert found.regime(1.2 * found.clt) == "clt"


def test_phase_diagram_joins_thresholds_and_optima():
    alphas = np.array([0.2, 0.4])
    diagram = phase_diagram(alphas, SPECTRUM, correction="finite")
    assert diagram.clt[1] == thresholds(0.4, SPECTRUM, correction="finite").clt
    assert diagram.optimum[0] == kl_bandwidth(0.2, SPECTRUM, correction="finite")
    assert np.isnan(phase_diagram(alphas, SPECTRUM, kernel="tophat").optimum).all()


# --- curves ---


def test_branches_of_the_free_energy_join_with_their_slopes():
    h = thresholds(0.2, SPECTRUM).condensation
    values = log_density_per_dimension(h * np.array([1 - 2e-4, 1 - 1e-4, 1 + 1e-4, 1 + 2e-4]), 0.2, SPECTRUM)
    slopes = np.diff(values) / (h * np.array([1e-4, 2e-4, 1e-4]))
    np.testing.assert_allclose(slopes, slopes[0], rtol=2e-3)


def test_divergence_is_least_at_the_optimum():
    spectrum, h = np.array([3.0, 1.0, 0.5]), kl_bandwidth(0.2, np.array([3.0, 1.0, 0.5]))
    grid = h * np.linspace(0.5, 3, 501)
    assert grid[kl_divergence(grid, 0.2, spectrum).argmin()] == pytest.approx(h, rel=6e-3)
    expected = math.log(h) + 0.2 - np.log(spectrum).mean() / 2
    assert float(kl_divergence(h, 0.2, spectrum)) == pytest.approx(expected)
    assert float(kl_divergence(1.0, 0.2, SPECTRUM)) == np.inf


@pytest.mark.parametrize(("dim", "n", "n_trials"), [(5, 100, 4000), (20, 55, 4000), (30, 400, 2000)])
def test_mean_log_density_at_finite_n_is_that_of_simulation(dim, n, n_trials):
    sample = energies(n_trials, n, dim)
    for h in (0.6, 1.0, 1.6):
        logs = logsumexp(-sample / h**2, axis=1) - math.log(n) - dim / 2 * math.log(2 * math.pi * h**2)
        error = 5 * logs.std() / math.sqrt(n_trials) + 2e-3 * dim
        assert float(mean_log_density(h, n, dim=dim)) == pytest.approx(logs.mean(), abs=error)


def test_finite_optimum_maximises_the_mean_log_density_and_reaches_its_limit():
    h = kl_bandwidth(0.2, dim=20, correction="finite")
    values = mean_log_density(h * np.array([0.98, 1.0, 1.02]), math.exp(4), dim=20)
    assert values[1] > max(values[0], values[2])
    gaps = [kl_bandwidth(0.2, dim=d, correction="finite") / kl_bandwidth(0.2) - 1 for d in (20, 80, 320)]
    assert gaps[0] > gaps[1] > gaps[2] > 0 and gaps[2] < 0.02


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_finite_optimum_is_the_best_of_a_wide_grid_in_few_dimensions(dim, kernel):
    """Far from that of the nearest point alone, which in one dimension is 1 / n."""
    found = kl_bandwidth(math.log(1000) / dim, dim=dim, correction="finite", kernel=kernel)
    values = mean_log_density(np.append(np.geomspace(1e-3, 2, 60), found), 1000, dim=dim, kernel=kernel)
    assert values[-1] > values[:-1].max() - 1e-5


def test_exponential_kernel_has_its_optimum_at_the_nearest_point_over_the_dimension():
    found = thresholds(0.2, kernel="exponential", dim=50)
    assert kl_bandwidth(0.2, kernel="exponential", dim=50) == pytest.approx(math.sqrt(found.edge_squared_distance / 50))
    finite = kl_bandwidth(0.2, kernel="exponential", dim=50, correction="finite")
    values = mean_log_density(finite * np.array([0.95, 1.0, 1.05]), math.exp(10), dim=50, kernel="exponential")
    assert values.argmax() == 1


@pytest.mark.parametrize("mu", [0.2, 0.5])
def test_participation_and_entropy_are_those_of_poisson_dirichlet_weights(mu):
    arrivals = np.cumsum(np.random.default_rng(8).exponential(size=(2000, 3000)), axis=1)
    weights = arrivals ** (-1 / mu)
    p = weights / weights.sum(1, keepdims=True)
    assert (p**2).sum(1).mean() == pytest.approx(condensed_participation(mu), abs=0.02)
    assert -(p * np.log(p)).sum(1).mean() == pytest.approx(condensed_entropy(mu), abs=0.04)


def test_estimate_in_the_condensed_phase_is_a_stable_number_with_no_free_parameter():
    dim, n, mu = 50, 22026, 0.4
    found = thresholds(math.log(n) / dim, dim=dim, correction="finite")
    h = math.sqrt(mu) * found.condensation
    logs = -energies(300, n, dim) / h**2
    p = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    assert (p**2).sum(1).mean() == pytest.approx(condensed_participation(mu), abs=0.06)
    total = logsumexp(logs, axis=1) + found.edge_squared_distance * dim / (2 * h**2)
    assert total.mean() == pytest.approx(condensed_mean_log_sum(mu), abs=5 * total.std() / math.sqrt(300))
    assert kstest(np.exp(total), fluctuation_law(mu).cdf).pvalue > 1e-3
    assert kstest(np.exp(total), fluctuation_law(1.5 * mu).cdf).pvalue < 1e-3


@pytest.mark.parametrize("mu", [0.3, 0.7, 1.3, 1.7])
def test_stable_law_is_that_of_a_poisson_process_of_weights(mu):
    rng = np.random.default_rng(3)
    weights = np.cumsum(rng.exponential(size=(3000, 2000)), axis=1) ** (-1 / mu)
    # Intensity mu w^(-mu - 1): what lies below the last adds its mean, which for mu > 1 centres what lies above.
    total = weights.sum(1) + weights[:, -1] ** (1 - mu) * mu / (1 - mu)
    grid = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(fluctuation_law(mu).cdf(np.quantile(total, grid)), grid, atol=0.04)


def test_mean_of_the_logarithm_is_that_of_the_stable_law():
    mu = 0.5  # S = scale / N², so that log S has the mean log(scale) + gamma + log 2
    assert condensed_mean_log_sum(mu) == pytest.approx(math.log(math.pi / 2) + np.euler_gamma + math.log(2))


def test_entropy_is_what_is_left_of_the_levels():
    h = thresholds(0.2).condensation
    values = entropy_per_dimension(np.array([0.5 * h, h, 1.5 * h, 50.0]), 0.2)
    assert values[0] == 0 and values[1] == pytest.approx(0, abs=1e-9) and 0 < values[2] < values[3] < 0.2
    dim, n = 60, 200_000
    logs = -energies(3, n, dim) / 2**2
    p = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    expected = float(entropy_per_dimension(2.0, math.log(n) / dim))
    assert -(p * np.log(p)).sum(1).mean() / dim == pytest.approx(expected, abs=3e-3)


def test_regimes_have_their_borders():
    assert regime_of(np.array([np.nan, 0.0, 0.99, 1.0, 1.99, 2.0, np.inf])).tolist() == [
        "undetermined",
        "empty",
        "condensed",
        "stable",
        "stable",
        "clt",
        "clt",
    ]


# --- kernels and sums ---


@pytest.mark.parametrize("dim", [1, 2, 7])
@every_kernel
def test_kernels_integrate_to_one(kernel, dim):
    k = KERNELS[kernel]
    area = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)
    end = 1 if k.support == 1 else 60
    integral, _ = quad(
        lambda r: area * r ** (dim - 1) * math.exp(k.log_profile(np.array(r * r))), 1e-12, end - 1e-12, limit=200
    )
    assert math.log(integral) == pytest.approx(k.log_normalizer(dim), abs=1e-8)
    t = 0.3
    assert k.energy_slope(t) == pytest.approx(
        RadialKernel("x", k.log_profile, k.support).energy_slope(t), rel=1e-4, abs=1e-9
    )


@every_kernel
def test_log_density_is_that_of_scikit_learn(kernel, cloud):
    points, fresh = cloud
    for h in (0.4, 1.5, 4.0):
        theirs = KernelDensity(bandwidth=h, kernel=kernel, rtol=1e-12, atol=0).fit(points).score_samples(fresh)
        ours = KDERegimes(kernel=kernel, bandwidth=h).fit(points).score_samples(fresh)
        # Where no point is reached, scikit-learn's bounds leave exp(-30) or so behind in place of zero.
        reached = np.isfinite(ours)
        np.testing.assert_allclose(ours[reached], theirs[reached], rtol=1e-7)
        assert (theirs[~reached] < -25).all()


def test_log_density_is_that_of_scipy_with_an_isotropic_bandwidth(cloud):
    points, fresh = cloud
    points = points[:, :1]
    factor = 0.3
    theirs = gaussian_kde(points.T, factor).logpdf(fresh[:, :1].T)
    ours = KDERegimes(bandwidth=factor * points.std(ddof=1)).fit(points).score_samples(fresh[:, :1])
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("drop_zero", [False, True])
@pytest.mark.parametrize("dim", [1, 3, 8])
@every_kernel
def test_sums_by_tiles_are_those_of_the_whole_matrix(kernel, dim, drop_zero):
    rng = np.random.default_rng(4)
    points = rng.standard_normal((700, dim))
    queries = np.concatenate([rng.standard_normal((70, dim)), points[:5], 30 + rng.standard_normal((3, dim))])
    for h in (0.05, 0.6, 20.0):
        sums = weight_sums(queries, PointTiles.of(points), kernel, h, drop_zero=drop_zero)
        expected = exact_sums(queries, points, kernel, h, drop_zero)
        for ours, theirs in zip((sums.log_sum, sums.participation, sums.entropy), expected):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@every_kernel
def test_sums_on_an_accelerator_are_those_on_the_processor(kernel, cloud, monkeypatch):
    points, fresh = cloud
    monkeypatch.setattr("semigroup.densities.kde_regimes.summation.DEVICE_BLOCK", 7 * 300)  # 7 rows at a time
    for h in (0.3, 2.0):
        found = log_sums_on_device(torch.from_numpy(fresh), torch.from_numpy(points), kernel, h)
        np.testing.assert_allclose(found, weight_sums(fresh, PointTiles.of(points), kernel, h).log_sum, rtol=1e-12)


def test_memory_stays_far_below_the_matrix_of_weights():
    rng = np.random.default_rng(9)
    points, queries = rng.standard_normal((5000, 4)), rng.standard_normal((5000, 4))
    model = KDERegimes(bandwidth=0.3).fit(points)
    model.score_samples(queries[:1])  # what is compiled is no memory of the sum
    tracemalloc.start()
    model.score_samples(queries)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # the matrix has 200 MB


def test_threads_give_the_same_sums():
    rng = np.random.default_rng(5)
    points, queries = rng.standard_normal((4000, 5)), rng.standard_normal((3000, 5))
    one, two = (weight_sums(queries, PointTiles.of(points), "gaussian", 0.5, n_jobs=jobs).log_sum for jobs in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-13)


def test_sums_do_not_depend_on_the_backend_that_joblib_is_configured_with():
    rng = np.random.default_rng(5)
    points, queries = rng.standard_normal((4000, 5)), rng.standard_normal((2000, 5))
    tiles = PointTiles.of(points)
    with parallel_config(backend="loky", n_jobs=2):  # first, so that no memory is left that holds the result
        found = weight_sums(queries, tiles, "gaussian", 0.5, n_jobs=2).log_sum
    np.testing.assert_allclose(found, weight_sums(queries, tiles, "gaussian", 0.5).log_sum, rtol=1e-13)


def test_far_tails_do_not_underflow_and_far_origins_lose_no_digits(cloud):
    points, fresh = cloud
    model = KDERegimes(bandwidth=0.02).fit(points)
    far = model.score_samples(fresh)
    assert far.min() < -5000 and np.isfinite(far).all()
    moved = KDERegimes(bandwidth=0.02).fit(points + 2.0**20).score_samples(fresh + 2.0**20)
    shifted_points, shifted = (points + 2.0**20) - 2.0**20, (fresh + 2.0**20) - 2.0**20
    np.testing.assert_allclose(moved, KDERegimes(bandwidth=0.02).fit(shifted_points).score_samples(shifted), rtol=1e-12)


def test_sample_has_the_moments_and_the_density_of_the_estimate():
    points = np.array([[0.0, 0.0], [10.0, 0.0]])
    for kernel in KERNELS:
        model = KDERegimes(kernel=kernel, bandwidth=1.0, n_neighbors=1, random_state=0).fit(points)
        drawn = model.sample(20_000)
        radius = np.minimum(*(np.linalg.norm(drawn - point, axis=1) for point in points))
        k = KERNELS[kernel]

        def cdf(r, k=k):
            inner = np.linspace(1e-9, 1, 400)[:, None] * r
            values = 2 * np.pi * inner * np.exp(k._log_profile(inner**2) - k.log_normalizer(2))
            return np.trapezoid(values, inner, axis=0)

        assert kstest(np.sort(radius)[::20], cdf).pvalue > 1e-3, kernel
        assert abs((drawn[:, 0] > 5).mean() - 0.5) < 0.02
    assert np.array_equal(model.sample(3), model.sample(3))
    assert not np.array_equal(model.sample(3), model.sample(3, random_state=1))


# --- the estimator ---


def test_nearest_neighbour_rule_is_the_mean_squared_distance(cloud):
    points, _ = cloud
    apart = cdist(points, points) + np.diag(np.full(len(points), np.inf))
    expected = math.sqrt((apart.min(1) ** 2).mean() / 6)
    assert KDERegimes(bandwidth="nn").fit(points).bandwidth_ == pytest.approx(expected)
    in_units = KDERegimes(bandwidth="nn", kernel="exponential").fit(points).bandwidth_
    assert in_units == pytest.approx(expected / math.sqrt(6))


def test_bandwidth_rules_follow_the_scale_of_the_data(cloud):
    points, _ = cloud
    for rule in ("nn", "kl", "cv", "scott", "silverman"):
        one, ten = (KDERegimes(bandwidth=rule).fit(scale * points + 3).bandwidth_ for scale in (1.0, 10.0))
        assert ten == pytest.approx(10 * one, rel=1e-3), rule
    spread = points.std(axis=0).mean()
    assert KDERegimes(bandwidth="scott").fit(points).bandwidth_ == pytest.approx(spread * 300 ** (-1 / 10))
    assert KDERegimes(bandwidth="silverman").fit(points).bandwidth_ == pytest.approx(
        spread * (300 * 8 / 4) ** (-1 / 10)
    )


def test_cross_validation_takes_the_best_of_its_grid(cloud):
    points, _ = cloud
    model = KDERegimes(bandwidth="cv").fit(points)
    apart = cdist(points, points, "sqeuclidean") + np.diag(np.full(300, np.inf))
    scores = [
        logsumexp(-apart / (2 * h * h), axis=1).mean() - math.log(299) - 3 * math.log(2 * math.pi * h * h)
        for h in model.cv_bandwidths_
    ]
    np.testing.assert_allclose(model.cv_scores_, scores, rtol=1e-10)
    assert model.bandwidth_ == model.cv_bandwidths_[np.argmax(scores)]
    assert 0 < np.argmax(scores) < 39
    assert not hasattr(model.set_params(bandwidth="nn").fit(points), "cv_scores_")
    assert np.isfinite(KDERegimes(bandwidth="cv", kernel="tophat").fit(points).cv_scores_).all()


def test_each_rule_is_told_without_being_fitted_with(cloud):
    points, _ = cloud
    model = KDERegimes(bandwidth=1.0, n_probes=100, random_state=1).fit(points)
    for rule in ("nn", "kl", "cv", "scott", "silverman"):
        assert model.rule(rule) == KDERegimes(bandwidth=rule, n_probes=100, random_state=1).fit(points).bandwidth_
    assert model.bandwidth_ == 1 and not hasattr(model, "cv_scores_")
    with pytest.raises(ValueError, match="name must be one of"):
        model.rule("plugin")


@pytest.mark.parametrize("bad", [{"random_state": "seed"}, {"bandwidth": "kl", "kernel": "tophat"}])
def test_fit_that_fails_leaves_the_estimator_as_it_was(bad, cloud):
    points, fresh = cloud
    model = KDERegimes(random_state=0).fit(points)
    before = model.score_samples(fresh)
    with pytest.raises((ValueError, TypeError)):
        model.set_params(**bad).fit(points[:50] + 1)
    model.set_params(kernel="gaussian")
    np.testing.assert_array_equal(model.score_samples(fresh), before)
    assert len(model.points_) == 300


def test_fit_that_is_stopped_leaves_the_estimator_as_it_was(cloud, monkeypatch):
    points, fresh = cloud
    model = KDERegimes(bandwidth="cv", random_state=0).fit(points)
    before = model.score_samples(fresh)

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(KDERegimes, "leave_one_out", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(points[:50] + 1)
    np.testing.assert_array_equal(model.score_samples(fresh), before)


def test_spectrum_rule_is_the_finite_optimum_of_the_sample_covariance(cloud):
    points, _ = cloud
    model = KDERegimes(bandwidth="kl").fit(points)
    expected = np.sort(np.linalg.eigvalsh(np.cov(points.T, bias=True)))[::-1]
    np.testing.assert_allclose(model.spectrum_, expected)
    h, found = (rule(math.log(300) / 6, expected, correction="finite") for rule in (kl_bandwidth, thresholds))
    assert model.bandwidth_ == pytest.approx(h, rel=1e-6)
    assert model.thresholds_.condensation == pytest.approx(found.condensation, rel=1e-9)
    few = KDERegimes().fit(points[:12])  # shrunk towards a multiple of the identity
    assert few.spectrum_[-1] > np.linalg.eigvalsh(np.cov(points[:12].T, bias=True))[0]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_spectrum_rule_is_near_the_best_of_fresh_points_in_few_dimensions(dim):
    points, fresh = np.random.default_rng(dim).standard_normal((2, 1000, dim))
    score = KDERegimes(bandwidth="kl").fit(points).score(fresh)
    assert score > max(KDERegimes(bandwidth=h).fit(points).score(fresh) for h in np.geomspace(0.1, 1, 10)) - 0.02


def test_nearest_neighbour_rule_beats_the_classical_rules_on_digits(images):
    train, test = images
    scores = {
        rule: KDERegimes(bandwidth=rule).fit(train).score(test) / 64 for rule in ("nn", "cv", "scott", "silverman")
    }
    assert scores["nn"] > scores["cv"] - 0.02
    assert scores["scott"] < scores["nn"] - 0.1 and scores["silverman"] < scores["nn"] - 0.1


def test_regime_on_digits_is_condensed_and_one_more_image_changes_a_score_by_any_factor(images):
    train, test = images
    model = KDERegimes().fit(train)
    regime = model.regime(test)
    assert (regime.verdict == "condensed").all() and regime.participation.mean() > 0.8
    assert np.median(regime.n_effective) < 1.2
    more = KDERegimes(bandwidth=model.bandwidth_).fit(np.concatenate([train, test[:1] + 1e-3]))
    assert more.score_samples(test[:1]) - model.score_samples(test[:1]) > 5  # the density grew 150 times and more


def test_regime_is_the_central_limit_where_bandwidth_is_wide():
    rng = np.random.default_rng(6)
    points, fresh = rng.standard_normal((3000, 4)), rng.standard_normal((200, 4))
    regime = KDERegimes(bandwidth=1.0).fit(points).regime(fresh)
    assert (regime.verdict == "clt").mean() > 0.95 and np.median(regime.n_effective) > 100
    _, participation, entropy = exact_sums(fresh, points, "gaussian", 1.0)
    np.testing.assert_allclose(regime.participation, participation, rtol=1e-10)
    np.testing.assert_allclose(regime.entropy, entropy, rtol=1e-10)


def test_local_threshold_is_the_mean_excess_of_the_nearest_and_near_that_of_the_law():
    dim, n, k = 30, 3000, 5
    rng = np.random.default_rng(7)
    points, fresh = rng.standard_normal((n, dim)), rng.standard_normal((400, dim))
    fresh *= math.sqrt(dim) / np.linalg.norm(fresh, axis=1, keepdims=True)  # typical: |x|² = d
    squared = KDERegimes(n_neighbors=k).fit(points).regime(fresh).condensation ** 2
    # Order statistics of n draws of the distance, by their expected ranks.
    ranked = ncx2.ppf(rng.gamma(np.arange(1, k + 2), size=(4000, k + 1)) / n, dim, dim).mean(0) / 2
    assert squared.mean() == pytest.approx((ranked[-1] - ranked[:-1]).mean(), rel=0.08)
    expected = thresholds(math.log(n) / dim, dim=dim, correction="finite").condensation
    assert math.sqrt(squared.mean()) == pytest.approx(expected, rel=0.1)


@every_kernel
def test_local_threshold_of_a_kernel_is_where_its_tail_index_is_one(kernel, cloud):
    points, fresh = cloud
    distances, _ = nearest_distances(fresh[:1], points, 6)
    h = float(local_condensation(distances, kernel)[0])
    model = KDERegimes(kernel=kernel, bandwidth=1.0).fit(points)
    if kernel == "tophat":
        assert model.regime(fresh[:1], bandwidth=0.999 * h).verdict[0] == "empty"
        # It reaches one point, a single one carries it.
        assert model.regime(fresh[:1], bandwidth=1.001 * h).verdict[0] == "condensed"
        wide = model.regime(fresh[:1], bandwidth=1.001 * distances[0, 5])
        assert wide.verdict[0] == "clt" and wide.n_effective[0] == pytest.approx(6)
    else:
        assert model.regime(fresh[:1], bandwidth=h).tail_index[0] == pytest.approx(1)
        assert model.regime(fresh[:1], bandwidth=0.99 * h).verdict[0] == "condensed"


def test_distances_that_are_all_the_same_say_nothing_of_the_regime(tmp_path):
    lattice = 0.1 * np.stack(np.meshgrid(*[np.arange(9.0)] * 2), axis=-1).reshape(-1, 2)
    inner = ((lattice > 0.05) & (lattice < 0.75)).all(axis=1)
    for kernel in ("gaussian", "exponential", "linear"):
        model = KDERegimes(bandwidth=0.15, n_neighbors=3, kernel=kernel).fit(lattice)
        regime = model.regime()
        assert np.isnan(regime.tail_index[inner]).all() and np.isnan(regime.condensation[inner]).all()
        assert (regime.verdict[inner] == "undetermined").all() and (regime.verdict[~inner] != "undetermined").all()
    assert (model.regime(bandwidth=0.05).verdict == "empty").all()
    outcome = perform(model, Sample(lattice, None), Context())
    assert outcome.metrics["share_undetermined"] == pytest.approx(inner.mean())
    assert np.isfinite(outcome.metrics["median_local_condensation"])


def test_points_are_left_out_of_their_own_estimate(cloud):
    points, _ = cloud
    model = KDERegimes(bandwidth=0.05, n_probes=50, random_state=0).fit(points)
    assert (model.score_samples(points) > model.leave_one_out()).all()  # in sample every point finds itself
    i = int(model.probes_[3])
    others = KDERegimes(bandwidth=0.05).fit(np.delete(points, i, axis=0))
    assert model.leave_one_out([i])[0] == pytest.approx(others.score_samples(points[[i]])[0], rel=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = model.regime()
    assert len(own.tail_index) == 50
    assert own.participation[3] == pytest.approx(others.regime(points[[i]]).participation[0], rel=1e-10)
    with pytest.warns(UserWarning, match="coincide with rows of X"):
        same = model.regime(points[model.probes_])
    np.testing.assert_array_equal(own.tail_index, same.tail_index)


def test_duplicates_are_warned_of_and_left_out(cloud):
    points, _ = cloud
    with pytest.warns(UserWarning, match="2 distances to points that coincide"):
        doubled = KDERegimes().fit(np.concatenate([points, points[:1]]))
    assert doubled.bandwidth_ == pytest.approx(KDERegimes().fit(points).bandwidth_, rel=1e-2)
    many = np.concatenate([points, np.repeat(points[:1], 30, axis=0)])
    with pytest.warns(UserWarning, match="coincide with others"):
        model = KDERegimes(bandwidth="cv").fit(many)
    assert model.bandwidth_ > 0.1


def test_distances_to_near_points_keep_their_digits_far_from_the_origin():
    base = np.array([[1e6, -1e6], [1e6 + 2.0**-20, -1e6], [1e6, -1e6 + 3.0]])
    distances, _ = nearest_distances(base[:1], base, 2)
    np.testing.assert_array_equal(distances, [[2.0**-20, 3.0]])


def test_nearest_points_are_found_between_clusters_far_apart():
    points = np.random.default_rng(10).standard_normal((600, 20))
    points[:, 0] += np.repeat([1e8, -1e8], 300)
    apart = cdist(points, points) + np.diag(np.full(600, np.inf))
    distances, n_zero = nearest_distances(points, points, 3)
    np.testing.assert_allclose(distances, np.sort(apart, axis=1)[:, :3], rtol=1e-12)
    assert n_zero == 600


def test_repeated_points_count_as_often_as_they_occur_and_cost_no_memory():
    rng = np.random.default_rng(11)
    points = np.concatenate([np.zeros((700, 30)), np.ones((4, 30)), 3 + rng.standard_normal((300, 30))])
    tracemalloc.start()
    distances, n_zero = nearest_distances(points, points, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6 and n_zero == 700**2 + 4**2 + 300
    np.testing.assert_allclose(distances[0, :4], math.sqrt(30))
    assert distances[0, 4] > 2 * math.sqrt(30)
    np.testing.assert_allclose(distances[700], math.sqrt(30))


def test_probes_and_samples_have_streams_of_their_own(cloud):
    model = KDERegimes(random_state=3).fit(cloud[0])
    assert len({model._seed(0), model._seed(1), model._seed(1, 4)}) == 3
    assert model._seed(1) == model._seed(1, 3)


def test_torch_in_torch_out(cloud):
    points, fresh = cloud
    model = KDERegimes().fit(torch.from_numpy(points))
    found = model.score_samples(torch.from_numpy(fresh).float())
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), model.score_samples(fresh), rtol=1e-4)
    assert model.score(fresh) == pytest.approx(model.score_samples(fresh).mean())


def test_what_is_stored_is_what_is_loaded(cloud, tmp_path):
    points, fresh = cloud
    model = KDERegimes(bandwidth="cv", kernel="exponential", random_state=0).fit(points)
    loaded = KDERegimes.from_pretrained(model.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.score_samples(fresh), model.score_samples(fresh))
    np.testing.assert_array_equal(loaded.regime(fresh).tail_index, model.regime(fresh).tail_index)
    assert loaded.thresholds_ == model.thresholds_ and loaded.get_params() == model.get_params()


# --- bad input ---


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"bandwidth": -1.0}, "bandwidth"),
        ({"bandwidth": math.inf}, "bandwidth"),
        ({"bandwidth": math.nan}, "bandwidth"),
        ({"bandwidth": "plugin"}, "bandwidth"),
        ({"bandwidth": "nn", "kernel": "tophat"}, "bandwidth"),
        ({"kernel": "cauchy"}, "kernel"),
        ({"correction": "some"}, "correction"),
        ({"n_neighbors": 0}, "n_neighbors"),
        ({"n_neighbors": 300}, "n_neighbors"),
        ({"n_probes": 0}, "n_probes"),
        ({"n_bandwidths": 1}, "n_bandwidths"),
        ({"n_neighbors": 2.5}, "n_neighbors"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters, word, cloud):
    with pytest.raises((ValueError, TypeError), match=word):
        clone(KDERegimes().set_params(**parameters)).fit(cloud[0])


@pytest.mark.parametrize(
    "X",
    [np.ones((1, 3)), np.full((5, 3), np.nan), np.ones((50, 3)), np.ones(5), np.array([["a", "b"]] * 9)],
    ids=["one row", "nan", "identical", "flat", "words"],
)
def test_bad_points_are_refused_by_name(X):
    with pytest.raises((ValueError, TypeError), match="X"):
        KDERegimes().fit(X)


def test_bad_queries_are_refused(cloud):
    model = KDERegimes().fit(cloud[0])
    with pytest.raises(ValueError, match="6 columns"):
        model.score_samples(np.ones((3, 5)))
    with pytest.raises(ValueError, match="NaN"):
        model.regime(np.full((3, 6), np.nan))
    with pytest.raises(ValueError, match="bandwidth"):
        model.leave_one_out(bandwidth=-1.0)
    with pytest.raises(ValueError, match="n_neighbors must be below the number of points that differ"):
        KDERegimes(n_neighbors=9).fit(cloud[0][:10]).regime()
    with pytest.raises(NotFittedError):
        KDERegimes().score_samples(cloud[0])
    with pytest.raises(ValueError, match="coincide"):
        nearest_distances(np.zeros((1, 2)), np.zeros((4, 2)), 1)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: thresholds(0.0), "alpha"),
        (lambda: thresholds(-0.1), "alpha"),
        (lambda: thresholds(0.2, np.array([1.0, -1.0])), "spectrum"),
        (lambda: thresholds(0.2, np.zeros(3)), "spectrum"),
        (lambda: thresholds(0.2, GaussianLaw(np.array([1.0, -1.0]))), "spectrum"),
        (lambda: thresholds(0.2, GaussianLaw(np.ones(2), np.ones(3))), "squares"),
        (lambda: thresholds(0.2, np.array([1.0, np.nan])), "spectrum"),
        (lambda: thresholds(0.2, correction="finite"), "dim"),
        (lambda: thresholds(0.2, kernel="tophat"), "dim"),
        (lambda: thresholds(0.2, np.ones(3), dim=4), "dim"),
        (lambda: thresholds(0.2, kernel="square"), "kernel"),
        (lambda: thresholds(0.2, correction="none"), "correction"),
        (lambda: thresholds(0.2, SphereLaw(), dim=5, correction="finite"), "Gaussian"),
        (lambda: thresholds(9.0, np.array([1.0] + [0.0] * 999)), "alpha"),
        (lambda: thresholds(0.2, kernel=RadialKernel("wide", lambda t: -np.log1p(t)), dim=5), "diverges"),
        (lambda: kl_bandwidth(0.2, kernel="epanechnikov", dim=5), "unbounded"),
        (lambda: mean_log_density(-1.0, 100, dim=5), "bandwidth"),
        (lambda: mean_log_density(1.0, 1, dim=5), "n must"),
        (lambda: kl_divergence(np.array([0.0]), 0.2), "bandwidth"),
        (lambda: condensed_entropy(1.0), "tail_index"),
        (lambda: fluctuation_law(1.0), "tail_index"),
        (lambda: fluctuation_law(2.5), "tail_index"),
        (lambda: thresholds(0.2).tail_index(0.0), "bandwidth"),
    ],
)
def test_bad_theory_is_refused_by_name(call, word):
    with pytest.raises((ValueError, TypeError), match=word):
        call()


# --- the job ---


def test_job_judges_fresh_rows_and_draws(tmp_path, cloud):
    points, fresh = cloud
    np.save(tmp_path / "a.npy", points)
    np.save(tmp_path / "b.npy", fresh)
    data = read([tmp_path / "a.npy", tmp_path / "b.npy"])
    outcome = perform(KDERegimes(random_state=0), data, Context())
    np.testing.assert_array_equal(outcome.arrays["log_density"], outcome.model.score_samples(fresh))
    assert set(outcome.tables["rules"]["rule"]) == {"nn", "kl", "cv", "scott", "silverman"}
    for name, picture in outcome.pictures.items():
        save_png(picture.figure, tmp_path / f"{name}.png")
    compact = perform(KDERegimes(kernel="epanechnikov", bandwidth="cv"), read([tmp_path / "a.npy"]), Context())
    assert len(compact.arrays["log_density"]) == 300 and set(compact.tables["rules"]["rule"]) == {
        "cv",
        "scott",
        "silverman",
    }
    for name, picture in compact.pictures.items():
        save_png(picture.figure, tmp_path / f"{name}.png")


@pytest.mark.filterwarnings("ignore:.*coincide:UserWarning")
def test_job_says_so_where_no_rule_reaches_all_rows_and_where_points_repeat(tmp_path, cloud):
    points = np.concatenate([cloud[0][:12], np.repeat(cloud[0][:1], 30, axis=0)])
    outcome = perform(KDERegimes(kernel="tophat", bandwidth=0.1), Sample(points, cloud[1] + 50), Context())
    assert "no rule reaches all of them" in outcome.summary and outcome.metrics["share_empty"] == 1
    assert outcome.tables["stability"]["n_neighbors"].tolist() == [3, 5, 10]
    for name, picture in outcome.pictures.items():
        save_png(picture.figure, tmp_path / f"{name}.png")


def test_job_looks_at_the_probes_that_the_estimator_has(cloud):
    """Without a seed, too."""
    model = KDERegimes(n_probes=20)
    outcome = perform(model, Sample(cloud[0], None), Context())
    assert outcome.tables["rows"]["row"].tolist() == model.probes_.tolist()
    of_nn = outcome.tables["rules"].set_index("rule").loc["nn"]
    assert of_nn["bandwidth"] == model.bandwidth_
    assert of_nn["log_density_per_dimension"] == outcome.metrics["mean_log_density_per_dimension"]


def test_job_refuses_files_that_do_not_fit(tmp_path, cloud):
    np.save(tmp_path / "a.npy", cloud[0])
    np.save(tmp_path / "b.npy", cloud[1][:, :4])
    np.save(tmp_path / "c.npy", cloud[0][:1])
    with pytest.raises(ValueError, match=r"b\.npy: has 4 columns"):
        read([tmp_path / "a.npy", tmp_path / "b.npy"])
    with pytest.raises(ValueError, match=r"c\.npy"):
        read([tmp_path / "c.npy"])
    with pytest.raises(ValueError, match="at most one"):
        read([tmp_path / "a.npy"] * 3)
