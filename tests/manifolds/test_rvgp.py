"""Gaussian processes of vector fields on point clouds."""

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.optimize import check_grad
from scipy.spatial import ConvexHull
from scipy.stats import multivariate_normal

from semigroup.data.manifolds import bumpy_sphere, clifford_torus, fibonacci_sphere, three_sphere
from semigroup.jobs import Context
from semigroup.jobs import rvgp as job
from semigroup.manifolds.rvgp import (
    SpectralPrior,
    TangentBundle,
    VectorFieldGP,
    channelwise_rbf,
    divergence_and_curl,
    encode,
    intrinsic_dimension,
    log_evidence,
    log_matern,
    mean_cosine,
    posterior,
    random_field,
    relative_error,
    scalar_encoding,
    singularities_kept,
    statistics,
    tangent_bundle,
    vector_heat,
    winding_number,
)


@pytest.fixture(scope="module")
def sphere() -> TangentBundle:
    return tangent_bundle(fibonacci_sphere(300))


@pytest.fixture(scope="module")
def field(sphere) -> np.ndarray:
    return random_field(sphere, 10.0, random_state=1)


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(300)
    return np.sort(order[:100]), np.sort(order[100:])


# --- the tangent bundle ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "dimension"),
    [
        (np.column_stack([np.cos(t := np.linspace(0, 2 * np.pi, 200, endpoint=False)), np.sin(t)]), 1),
        (fibonacci_sphere(300), 2),
        (clifford_torus(16, noise=1e-3, random_state=0), 2),
        (three_sphere(800, random_state=0), 3),
    ],
    ids=["circle", "sphere", "flat torus", "three-sphere"],
)
def test_dimension_is_found_and_frames_are_tangent(points, dimension):
    bundle = tangent_bundle(points)
    assert bundle.dimension == dimension
    np.testing.assert_allclose(
        np.swapaxes(bundle.frames, 1, 2) @ bundle.frames,
        np.broadcast_to(np.eye(dimension), (len(points), dimension, dimension)),
        atol=1e-12,
    )
    if points.shape[1] == dimension + 1:
        normal = np.einsum("id,ida->ia", points / np.linalg.norm(points, axis=1, keepdims=True), bundle.frames)
        assert np.abs(normal).mean() < 0.05


def test_dimension_grows_with_the_variance_to_be_explained():
    singular_values = np.array([[3.0, 2.0, 1.0]])
    assert [intrinsic_dimension(singular_values, rho) for rho in (0.6, 0.9, 1.0)] == [1, 2, 3]


def test_hops_tilt_the_frames_that_lengths_keep_tangent():
    points = fibonacci_sphere(1000)

    def tilt(geodesic):
        return np.abs(np.einsum("id,ida->ia", points, tangent_bundle(points, geodesic=geodesic).frames)).mean()

    assert tilt("lengths") < 0.01 < 0.04 < tilt("hops")


@pytest.mark.parametrize("space", ["connection", "projected"])
def test_kernel_does_not_depend_on_the_choice_of_frames(sphere, space):
    rotations = np.linalg.qr(np.random.default_rng(0).normal(size=(300, 2, 2)))[0]
    turned = TangentBundle(sphere.points, sphere.adjacency, sphere.frames @ rotations, sphere.singular_values)

    def kernel(bundle):
        # 16 eigenpairs end a cluster of the sphere, so that the span is well separated from the rest.
        encoding = encode(bundle, 16, space=space)
        rows = (bundle.frames @ encoding.features).reshape(900, -1)
        return (rows * np.exp(-encoding.eigenvalues)) @ rows.T

    np.testing.assert_allclose(kernel(turned), kernel(sphere), atol=1e-8 * np.abs(kernel(sphere)).max())


def test_random_walk_encoding_solves_its_eigenproblem(sphere):
    encoding = encode(sphere, 10, normalisation="random-walk")
    degree = np.repeat(np.asarray(sphere.adjacency.sum(axis=1)).ravel(), 2)
    vectors = encoding.features.reshape(600, -1)
    np.testing.assert_allclose(
        (sphere.connection_laplacian @ vectors) / degree[:, None], vectors * encoding.eigenvalues, atol=1e-6
    )
    assert np.sqrt((vectors**2).sum(axis=0)) == pytest.approx(np.sqrt(600), rel=0.05)


def test_a_degenerate_eigenspace_is_taken_to_its_end():
    bundle = tangent_bundle(clifford_torus(12), 8, dimension=2)
    assert encode(bundle, 1).features.shape[2] == 2  # the two parallel fields


# --- kernels and regression --------------------------------------------------------------------------------------------


def test_prior_has_the_amplitude_as_mean_variance_of_the_length(sphere):
    encoding = encode(sphere, 20)
    power = (encoding.features**2).sum(axis=(0, 1)) / 300
    np.testing.assert_allclose(power, 2, rtol=1e-8)
    prior = SpectralPrior("matern", encoding.eigenvalues, power)
    variances = np.exp(prior.log_variances(np.log([2.5, 3.0, 0.7]))[0])
    rows = sphere.frames @ encoding.features
    assert np.einsum("idk,k,idk->i", rows, variances, rows).mean() == pytest.approx(0.7)


@pytest.mark.parametrize("kernel", ["matern", "squared-exponential"])
def test_spectral_density_neither_overflows_nor_underflows(kernel):
    prior = SpectralPrior(kernel, np.linspace(0, 30, 50), np.full(50, 2.0))
    extreme = np.log([50.0, 1e3, 1.0]) if kernel == "matern" else np.log([1e3, 1.0])
    log_variances, derivative = prior.log_variances(extreme)
    assert np.isfinite(log_variances).all() and np.isfinite(derivative).all()
    assert np.exp(log_variances).sum() == pytest.approx(0.5)


def test_matern_is_the_formula():
    values = np.array([0.0, 0.5, 3.0])
    np.testing.assert_allclose(np.exp(log_matern(values, 1.5, 2.0)[0]), (2 * 1.5 / 4 + values) ** -1.5)


@pytest.mark.parametrize("kernel", ["matern", "squared-exponential"])
def test_derivatives_of_the_prior_are_those_of_differences(kernel):
    prior = SpectralPrior(kernel, np.linspace(0.1, 5, 6), np.linspace(1.0, 2.0, 6))
    at = np.log([1.3, 0.8, 2.0])[-len(prior.parameters) :]
    for j in range(6):
        error = check_grad(lambda t, j=j: prior.log_variances(t)[0][j], lambda t, j=j: prior.log_variances(t)[1][j], at)
        assert error < 1e-6


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    features, log_variances = rng.normal(size=(40, 7)), rng.normal(size=7)
    values = features @ (np.exp(log_variances / 2) * rng.normal(size=7)) + 0.3 * rng.normal(size=40)
    return features, values, log_variances, float(np.log(0.09))


def test_evidence_and_posterior_are_those_of_the_dense_gaussian(problem):
    features, values, log_variances, log_noise = problem
    data = statistics(features, values)
    kernel = (features * np.exp(log_variances)) @ features.T
    covariance = kernel + np.exp(log_noise) * np.eye(40)
    assert log_evidence(data, log_variances, log_noise)[0] == pytest.approx(
        multivariate_normal(cov=covariance).logpdf(values), rel=1e-10
    )
    weights = posterior(data, log_variances, log_noise)
    np.testing.assert_allclose(features @ weights.mean, kernel @ np.linalg.solve(covariance, values), rtol=1e-9)
    spread = features @ weights.factor
    np.testing.assert_allclose(spread @ spread.T, kernel - kernel @ np.linalg.solve(covariance, kernel), atol=1e-10)


def test_fewer_values_than_functions_are_enough(problem):
    features, values, log_variances, log_noise = (
        part[:4] if np.ndim(part) and len(part) == 40 else part for part in problem
    )
    covariance = (features * np.exp(log_variances)) @ features.T + np.exp(log_noise) * np.eye(4)
    value = log_evidence(statistics(features, values), log_variances, log_noise)[0]
    assert value == pytest.approx(multivariate_normal(cov=covariance).logpdf(values), rel=1e-10)


def test_evidence_keeps_its_digits_where_the_noise_is_tiny(problem):
    features, _, log_variances, _ = problem
    values = features @ np.ones(7)  # nothing is left of them once the field is fitted
    data, noise = statistics(features, values), 1e-13
    u = np.exp(-log_variances / 2)
    inner = np.linalg.slogdet(np.eye(7) + np.exp((log_variances[:, None] + log_variances) / 2) * data.gram / noise)[1]
    limit = -0.5 * (40 * np.log(2 * np.pi * noise) + inner + u @ u)
    assert log_evidence(data, log_variances, np.log(noise))[0] == pytest.approx(limit, rel=1e-6)


@pytest.mark.parametrize("inducing", [None, 3, 7], ids=["exact", "3 inducing", "7 inducing"])
def test_derivatives_of_the_evidence_are_those_of_differences(problem, inducing):
    features, values, log_variances, log_noise = problem
    data, rows = statistics(features, values), None if inducing is None else features[:inducing]

    def gradient(theta):
        _, by_variances, by_noise = log_evidence(data, theta[:-1], theta[-1], rows)
        return np.append(by_variances, by_noise)

    theta = np.append(log_variances, log_noise)
    error = check_grad(lambda t: log_evidence(data, t[:-1], t[-1], rows)[0], gradient, theta, epsilon=1e-6)
    assert error < 1e-4 * np.linalg.norm(gradient(theta))


def test_orthogonal_shortcut_is_the_general_formula(problem):
    _, _, log_variances, log_noise = problem
    rng = np.random.default_rng(1)
    features, values = 3 * np.linalg.qr(rng.normal(size=(40, 7)))[0], rng.normal(size=40)
    short, general = statistics(features, values, orthogonal=True), statistics(features, values)
    for one, other in zip(
        log_evidence(short, log_variances, log_noise), log_evidence(general, log_variances, log_noise)
    ):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    np.testing.assert_allclose(
        posterior(short, log_variances, log_noise).mean, posterior(general, log_variances, log_noise).mean
    )


def test_titsias_bound_is_the_formula_and_grows_to_the_evidence(problem):
    features, values, log_variances, log_noise = problem
    data, noise = statistics(features, values), np.exp(log_noise)
    kernel = (features * np.exp(log_variances)) @ features.T
    bounds = []
    for count in (2, 4, 6, 7):
        cross = kernel[:count]
        nystrom = cross.T @ np.linalg.solve(kernel[:count, :count], cross)
        expected = multivariate_normal(cov=nystrom + noise * np.eye(40)).logpdf(values) - np.trace(kernel - nystrom) / (
            2 * noise
        )
        bounds.append(log_evidence(data, log_variances, log_noise, features[:count])[0])
        assert bounds[-1] == pytest.approx(expected, rel=1e-8)
        weights = posterior(data, log_variances, log_noise, features[:count])
        middle = np.linalg.solve(nystrom + noise * np.eye(40), nystrom)
        np.testing.assert_allclose(
            features @ weights.mean, nystrom @ np.linalg.solve(nystrom + noise * np.eye(40), values), atol=1e-9
        )
        spread = features @ weights.factor
        np.testing.assert_allclose(spread @ spread.T, kernel - nystrom @ middle, atol=1e-8)
    exact = log_evidence(data, log_variances, log_noise)[0]
    assert np.all(np.diff(bounds) > 0) and bounds[-1] == pytest.approx(exact, rel=1e-10)


# --- the estimator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["tangent", "ambient"])
@pytest.mark.parametrize("space", ["connection", "projected"])
def test_prediction_is_the_dense_process_with_the_learnt_kernel(sphere, field, halves, likelihood, space):
    train, test = halves
    noisy = field + 0.05 * np.random.default_rng(0).normal(size=field.shape)
    model = VectorFieldGP(n_eigenpairs=20, likelihood=likelihood, space=space).fit(sphere, noisy, train)
    rows = (model.frames_ @ model.features_)[np.concatenate([train, test])].reshape(900, -1)
    kernel = (rows * model.prior_variances_) @ rows.T
    gain = np.linalg.solve(kernel[:300, :300] + model.noise_variance_ * np.eye(300), kernel[:300, 300:]).T
    mean, covariance = model.predict(test, return_cov=True)
    np.testing.assert_allclose(mean.ravel(), gain @ noisy[train].ravel(), atol=1e-9)
    dense = kernel[300:, 300:] - gain @ kernel[:300, 300:]
    np.testing.assert_allclose(covariance, [dense[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] for i in range(200)], atol=1e-9)
    if likelihood == "ambient":
        value = multivariate_normal(cov=kernel[:300, :300] + model.noise_variance_ * np.eye(300)).logpdf(
            noisy[train].ravel()
        )
        assert model.log_marginal_likelihood_ == pytest.approx(value, rel=1e-9)


def test_learning_reaches_a_maximum_and_starts_where_it_is_told(sphere, field, halves):
    train, _ = halves
    start = VectorFieldGP(n_eigenpairs=20, max_iter=0, nu=2.0, kappa=3.0, amplitude=0.8, noise_variance=0.01).fit(
        sphere, field, train
    )
    assert (start.nu_, start.kappa_, start.amplitude_, start.noise_variance_) == pytest.approx((2.0, 3.0, 0.8, 0.01))
    learnt = VectorFieldGP(n_eigenpairs=20).fit(sphere, field, train)
    assert learnt.converged_ and learnt.log_marginal_likelihood_ > start.log_marginal_likelihood_
    for name in ("amplitude", "noise_variance"):
        for factor in (0.9, 1.1):
            values = {
                "nu": learnt.nu_,
                "kappa": learnt.kappa_,
                "amplitude": learnt.amplitude_,
                "noise_variance": learnt.noise_variance_,
            }
            values[name] *= factor
            moved = VectorFieldGP(n_eigenpairs=20, max_iter=0, **values).fit(sphere, field, train)
            assert moved.log_marginal_likelihood_ < learnt.log_marginal_likelihood_


def test_reference_normalisation_changes_the_amplitude_only(sphere, field, halves):
    train, test = halves
    ours, theirs = (
        VectorFieldGP(n_eigenpairs=20, normalization=n).fit(sphere, field, train) for n in ("variance", "reference")
    )
    assert theirs.amplitude_ * 300 * 2 * 3 == pytest.approx(ours.amplitude_, rel=1e-6)
    np.testing.assert_allclose(theirs.predict(test), ours.predict(test), atol=1e-9)


def test_learnt_noise_is_the_noise(sphere):
    encoding = encode(sphere, 20)
    rng = np.random.default_rng(3)
    truth = sphere.frames @ (encoding.features @ (rng.normal(size=20) / (1 + encoding.eigenvalues)))[..., None]
    for likelihood, noise in (
        ("ambient", 0.2 * rng.normal(size=(300, 3))),
        ("tangent", sphere.vectors(0.2 * rng.normal(size=(300, 2)))),
    ):
        model = VectorFieldGP(n_eigenpairs=20, likelihood=likelihood).fit(sphere, truth[..., 0] + noise)
        assert model.noise_variance_ == pytest.approx(0.04, rel=0.15)
        assert relative_error(model.predict(), truth[..., 0]) < relative_error(truth[..., 0] + noise, truth[..., 0]) / 2


def test_scalar_kernels_do_worse(sphere, field, halves):
    train, test = halves
    ours = relative_error(VectorFieldGP().fit(sphere, field, train).predict(test), field[test])
    eigenvectors = scalar_encoding(sphere, 100)
    scalar = relative_error(channelwise_rbf(eigenvectors[train], field[train], eigenvectors[test]), field[test])
    assert ours < 0.5 * scalar


def test_enough_inducing_inputs_give_the_exact_process(sphere, field, halves):
    train, test = halves
    exact = VectorFieldGP(n_eigenpairs=20).fit(sphere, field, train)
    many = VectorFieldGP(n_eigenpairs=20, n_inducing=60).fit(sphere, field, train)
    np.testing.assert_allclose(many.predict(test), exact.predict(test), atol=1e-5)
    few = VectorFieldGP(n_eigenpairs=20, n_inducing=8).fit(sphere, field, train)
    assert few.log_marginal_likelihood_ < exact.log_marginal_likelihood_


def test_rows_of_nan_mask_and_numbers_say_the_same(sphere, field, halves):
    train, test = halves
    holes = field.copy()
    holes[test] = np.nan
    mask = np.isin(np.arange(300), train)
    model = VectorFieldGP(n_eigenpairs=20)
    expected = model.fit(sphere.points, holes).predict()
    for V, observed in (
        (field, train),
        (field, mask),
        (field[train], train),
        (torch.from_numpy(field), torch.from_numpy(mask)),
    ):
        np.testing.assert_array_equal(model.fit(sphere.points, V, observed).predict(), expected)
    np.testing.assert_array_equal(model.predict(mask), expected[train])
    np.testing.assert_array_equal(model.refit(field, train).predict(), expected)


def test_points_are_known_by_number_and_by_coordinates(sphere, field, halves):
    train, test = halves
    model = VectorFieldGP(n_eigenpairs=20).fit(sphere, field, train)
    np.testing.assert_array_equal(model.predict(sphere.points[test]), model.predict(test))
    tensor = torch.from_numpy(sphere.points[test])
    mean, covariance = model.predict(tensor, return_cov=True)
    assert isinstance(mean, torch.Tensor) and covariance.shape == (200, 3, 3)
    with pytest.raises(ValueError, match="off_graph"):
        model.predict(1.01 * sphere.points[test])


def test_points_off_the_graph_are_close_to_the_field_between_their_neighbours(sphere):
    turning = np.cross([0.0, 0.0, 1.0], sphere.points)
    model = VectorFieldGP(n_eigenpairs=30).fit(sphere, turning)
    np.testing.assert_allclose(model.predict(sphere.points, off_graph=True), model.predict(), atol=1e-3)
    elsewhere = fibonacci_sphere(211)
    assert relative_error(model.predict(elsewhere, off_graph=True), np.cross([0.0, 0.0, 1.0], elsewhere)) < 0.15


def test_samples_have_the_mean_and_the_covariance_of_the_posterior(sphere, field, halves):
    train, test = halves
    model = VectorFieldGP(n_eigenpairs=10, random_state=0).fit(sphere, field, train)
    samples = model.sample(4000, test[:5])
    mean, covariance = model.predict(test[:5], return_cov=True)
    deviation = np.sqrt(np.trace(covariance, axis1=1, axis2=2)).max()
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=5 * deviation / np.sqrt(4000))
    centred = samples - mean
    np.testing.assert_allclose(np.einsum("sqd,sqe->qde", centred, centred) / 4000, covariance, atol=0.1 * deviation**2)
    np.testing.assert_array_equal(samples, model.sample(4000, test[:5]))


def test_error_bars_with_the_noise_hold_what_they_promise():
    bundle = tangent_bundle(bumpy_sphere(400))
    inside = []
    for seed in range(5):
        truth = random_field(bundle, 5.0, random_state=seed)
        order = np.random.default_rng(seed).permutation(400)
        model = VectorFieldGP(n_eigenpairs=60).fit(bundle, truth, order[:150])
        mean, covariance = model.predict(order[150:], return_cov=True)
        frames = bundle.frames[order[150:]]
        local = np.einsum("ida,id->ia", frames, truth[order[150:]] - mean)
        spread = np.swapaxes(frames, 1, 2) @ covariance @ frames + model.noise_variance_ * np.eye(2)
        inside.append(
            np.einsum("ia,ia->i", local, np.linalg.solve(spread, local[..., None])[..., 0]) < -2 * np.log(0.1)
        )
    assert 0.8 < np.mean(inside) < 0.97  # of the 90 % regions


def test_saved_and_loaded_predicts_the_same(sphere, field, halves, tmp_path):
    model = VectorFieldGP(n_eigenpairs=20, kernel="squared-exponential").fit(sphere, field, halves[0])
    assert model.nu_ is None
    loaded = VectorFieldGP.from_pretrained(model.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict(), model.predict())
    np.testing.assert_array_equal(loaded.refit(field, halves[0]).predict(), model.predict())


# --- fields ------------------------------------------------------------------------------------------------------------


def test_vector_heat_is_the_exponential_of_the_laplacian_with_lengths_kept(sphere):
    start = sphere.vectors(np.random.default_rng(0).normal(size=(300, 2)))
    moved = vector_heat(sphere, start, 0.3)
    dense = scipy.linalg.expm(-0.3 * sphere.connection_laplacian.toarray()) @ sphere.coordinates(start).ravel()
    assert mean_cosine(moved, sphere.vectors(dense.reshape(300, 2))) == pytest.approx(1)
    lengths = scipy.linalg.expm(-0.3 * sphere.laplacian.toarray()) @ np.linalg.norm(start, axis=1)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), lengths, rtol=1e-6)


def test_vector_heat_carries_one_vector_over_a_flat_torus_unchanged():
    points = clifford_torus(12)
    bundle = tangent_bundle(points, 8, dimension=2)
    along = np.column_stack([-points[:, 1], points[:, 0], np.zeros((144, 2))])  # parallel
    known = np.arange(144) == 17
    spread = vector_heat(bundle, along, 20.0, known)
    assert mean_cosine(spread, along) > 0.999
    np.testing.assert_allclose(np.linalg.norm(spread, axis=1), 1, atol=0.01)


def test_indices_of_a_field_add_up_to_the_euler_characteristic_of_the_sphere():
    points = fibonacci_sphere(2000)
    bundle = tangent_bundle(points)
    triangles = ConvexHull(points).simplices
    for seed in range(3):
        indices = winding_number(points, random_field(bundle, 50.0, random_state=seed), triangles)
        assert indices.sum() == 2 and 2 <= np.abs(indices).sum() < 20


def test_singularities_are_kept_by_the_field_itself_and_lost_by_another_one():
    points = fibonacci_sphere(500)
    bundle, triangles = tangent_bundle(points), ConvexHull(points).simplices
    truth, other = (random_field(bundle, 10.0, random_state=seed) for seed in (0, 1))
    kept, true, found = singularities_kept(points, triangles, truth, truth, 0.1)
    assert kept == true == found >= 2
    assert singularities_kept(points, triangles, other, truth, 0.1)[0] < true


def test_long_diffusion_keeps_its_digits():
    bundle = tangent_bundle(bumpy_sphere(800))
    values, vectors = np.linalg.eigh(bundle.connection_laplacian.toarray())
    start = bundle.vectors(np.random.default_rng(0).normal(size=(800, 2)))
    # At this time nothing is above 1e-12 of the start.
    exact = vectors @ (np.exp(-400 * (values - values[0])) * (vectors.T @ bundle.coordinates(start).ravel()))
    field = vector_heat(bundle, start, 400.0)
    assert np.exp(-400 * values[0]) < 1e-12
    assert mean_cosine(field, bundle.vectors(exact.reshape(800, 2))) > 1 - 1e-9
    with pytest.raises(ValueError, match="too short"):
        vector_heat(bundle, field, 0.1, np.arange(800) == 3)


@pytest.mark.parametrize(
    ("map_", "index"),
    [(lambda z: z, 1), (lambda z: -1j * z, 1), (np.conj, -1), (lambda z: z**2, 2), (lambda z: z + 9, 0)],
)
def test_winding_number_of_known_singularities(map_, index):
    z = np.exp(2j * np.pi * np.random.default_rng(0).permutation(12) / 12)
    points, values = np.column_stack([z.real, z.imag]), map_(z)
    vectors = np.column_stack([values.real, values.imag])
    assert winding_number(points, vectors, np.arange(12)[None]) == [index]


def test_divergence_and_curl_are_those_of_a_linear_field():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    divergence, curl = divergence_and_curl(grid, grid @ matrix.T, n_neighbors=6, dimension=3, unit=False)
    middle = 62
    assert divergence[middle] == pytest.approx(np.trace(matrix))
    turn = [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    np.testing.assert_allclose(curl[middle], turn, atol=1e-12)
    source, _ = divergence_and_curl(grid, grid - grid[middle])
    assert source[middle] > 0 and source.argmax() == middle


# --- bad input ---------------------------------------------------------------------------------------------------------

SPHERE, UP = fibonacci_sphere(100), np.tile([0.0, 0.0, 1.0], (100, 1))
NORMAL = SPHERE


@pytest.mark.parametrize(
    ("arguments", "X", "V", "observed", "named"),
    [
        ({}, np.where(np.arange(100)[:, None] == 3, np.nan, SPHERE), UP, None, "X holds NaN"),
        ({}, SPHERE, np.where(np.arange(100)[:, None] == 3, np.inf, UP), None, "V holds NaN or infinity"),
        ({}, SPHERE, np.where(np.eye(100, 3) > 0, np.nan, UP), None, "V holds NaN or infinity"),
        ({}, SPHERE, np.full((100, 3), np.nan), None, "V holds no vector"),
        ({}, SPHERE, np.zeros((100, 3)), None, "V is zero"),
        ({}, SPHERE[[0, 0, *range(1, 99)]], UP, None, "coincide"),
        ({}, SPHERE[:15], UP[:15], None, "more than the 15"),
        ({"dimension": 4}, SPHERE, UP, None, "dimension must be at most"),
        ({"n_neighbors": 1, "dimension": 2}, SPHERE, UP, None, "dimension must be at most"),
        (
            {"dimension": 2, "n_eigenpairs": 3},
            np.column_stack([np.linspace(0, 1, 100), np.zeros((100, 2))]),
            UP,
            None,
            "span less than 2",
        ),
        ({}, SPHERE, UP[:, :2], None, "V must hold vectors of 3"),
        ({}, SPHERE, UP[:50], None, "V must have a row"),
        ({}, SPHERE, UP, np.array([], dtype=int), "observed is empty"),
        ({}, SPHERE, UP, np.array([3, 100]), "observed must hold numbers from 0 to 99"),
        ({}, SPHERE, UP, np.array([-1]), "observed must hold numbers"),
        ({}, SPHERE, UP, np.array([3, 3]), "observed names a point twice"),
        ({}, SPHERE, UP, np.array([0.5]), "observed must be a vector of point numbers"),
        ({"n_eigenpairs": 201}, SPHERE, UP, None, "n_eigenpairs must be at most the 200"),
        ({"noise_variance": 0.0}, SPHERE, UP, None, "noise_variance"),
        ({"nu": -1.0}, SPHERE, UP, None, "nu"),
        ({"kappa": 0.0}, SPHERE, UP, None, "kappa"),
        ({"amplitude": 0}, SPHERE, UP, None, "amplitude"),
        ({"explained_variance": 0.0}, SPHERE, UP, None, "explained_variance"),
        ({"explained_variance": 1.2}, SPHERE, UP, None, "explained_variance"),
        ({"n_inducing": 301}, SPHERE, UP, None, "n_inducing"),
        ({"max_normal_fraction": 0.2}, SPHERE, NORMAL, None, "V is not tangent"),
        ({}, np.vstack([SPHERE, SPHERE + 9]), np.vstack([UP, UP]), None, "must be connected"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, X, V, observed, named):
    with pytest.raises(ValueError, match=named), np.errstate(all="raise"):
        VectorFieldGP(**{"n_eigenpairs": 10, **arguments}).fit(X, V, observed)


def test_normal_vectors_are_warned_of_and_counted():
    tilted = np.cross([0.0, 0.0, 1.0], SPHERE) + NORMAL
    with pytest.warns(UserWarning, match="not tangent"):
        model = VectorFieldGP(n_eigenpairs=10).fit(SPHERE, tilted)
    assert model.normal_fraction_ == pytest.approx(0.6, abs=0.02)  # 1 of 1 + 2/3


def test_two_components_are_accepted_where_allowed():
    X, V = np.vstack([SPHERE, SPHERE + 9]), np.vstack([np.cross([0.0, 0.0, 1.0], SPHERE)] * 2)
    model = VectorFieldGP(n_eigenpairs=20, allow_disconnected=True).fit(X, V, np.arange(100))
    assert model.score(np.arange(100), V[:100]) > 0.95
    np.testing.assert_allclose(model.predict(np.arange(100, 200)), 0, atol=1e-6)  # nothing is said of the other one


# --- the job -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "parquet", "npz", "two files"])
def test_job_reads_the_users_arrows(tmp_path, form):
    import pandas as pd

    vectors = np.cross([0.0, 0.0, 1.0], SPHERE)
    vectors[::3] = np.nan
    columns = ["lon", "lat", "height", "east", "north", "up"]
    table = pd.DataFrame(np.hstack([SPHERE, vectors]), columns=columns)
    files = [tmp_path / f"arrows.{form}"]
    if form == "csv":
        table.to_csv(files[0], index=False)
    elif form == "parquet":
        table.to_parquet(files[0])
    elif form == "npz":
        np.savez(files[0], X=SPHERE, V=vectors)
    else:
        files = [tmp_path / "points.npy", tmp_path / "vectors.npy"]
        np.save(files[0], SPHERE)
        np.save(files[1], vectors)
    data = job.read(files)
    np.testing.assert_allclose(data.points, SPHERE)
    np.testing.assert_allclose(data.vectors, vectors)
    assert list(data.names) == columns or form not in ("csv", "parquet")
    outcome = job.perform(VectorFieldGP(n_eigenpairs=20), data, Context())
    assert outcome.metrics["observed_vectors"] == 66 == outcome.tables["field"]["observed"].sum()
    assert outcome.metrics["relative_error"] < 0.1
    assert set(outcome.pictures) == {"field", "spectrum"}
    # What was held back to judge by is learnt from in the end.
    assert len(outcome.model.observed_) == 66


@pytest.mark.parametrize("width", [1, 2, 4])
def test_job_draws_points_in_any_number_of_dimensions(width):
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points = (
        np.column_stack([np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t)])[:, :width] if width > 1 else t[:, None]
    )
    vectors = np.gradient(points, axis=0)
    outcome = job.perform(
        VectorFieldGP(n_eigenpairs=10, dimension=1),
        job.Arrows(points, vectors, tuple("abcdefgh"[: 2 * width])),
        Context(),
    )
    assert outcome.metrics["dimension"] == 1 and outcome.metrics["relative_error"] < 0.2


@pytest.mark.parametrize("width", [3, 1])
def test_job_refuses_a_table_that_does_not_fall_into_points_and_vectors(tmp_path, width):
    np.save(tmp_path / "odd.npy", np.ones((5, width)))
    with pytest.raises(ValueError, match=r"odd\.npy: columns must be"):
        job.read([tmp_path / "odd.npy"])


@pytest.mark.parametrize(
    ("arguments", "V", "named"),
    [
        ({"laplacian": "foo"}, UP, "laplacian"),
        ({"space": "foo"}, UP, "space"),
        ({"n_eigenpairs": 0}, UP, "n_eigenpairs"),
        ({"n_eigenpairs": 301}, UP, "n_eigenpairs"),
        ({"n_inducing": 301}, UP, "n_inducing"),
        ({}, 0 * UP, "V is zero"),
    ],
)
def test_what_no_tangent_spaces_can_mend_is_refused_before_they_are_sought(arguments, V, named, monkeypatch):
    monkeypatch.setattr("semigroup.manifolds.rvgp.estimator.tangent_bundle", lambda *a, **k: pytest.fail("sought"))
    with pytest.raises(ValueError, match=named):
        VectorFieldGP(n_eigenpairs=10).set_params(**arguments).fit(SPHERE, V)


def test_divergence_does_not_see_a_common_offset():
    points, vectors = np.random.default_rng(0).normal(size=(2, 12, 3))
    near, far = (divergence_and_curl(one, vectors, n_neighbors=8)[0] for one in (points, points + 1e7))
    np.testing.assert_allclose(far, near, rtol=1e-5)
