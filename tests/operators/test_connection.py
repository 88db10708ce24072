"""The connection Laplacian: its invariances, and its spectrum against those of known manifolds."""

import numpy as np
import pytest
import scipy.sparse as sp

from semigroup.operators import (
    connection_laplacian,
    eigenpairs,
    geodesic_neighbours,
    laplacian,
    neighbour_graph,
    parallel_transport,
    tangent_frames,
)


def sphere(n):
    i = np.arange(n) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / n), np.pi * (1 + np.sqrt(5)) * i
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)


def framed(points, k, m=2):
    lengths = neighbour_graph(points, k, kernel="distance")
    directions, _ = tangent_frames(points, geodesic_neighbours(lengths, int(1.5 * k))[0])
    return neighbour_graph(points, k, kernel="binary"), directions[:, :, :m]


@pytest.fixture(scope="module")
def on_sphere():
    points = sphere(1000)
    return points, *framed(points, 20)


def test_frames_are_orthonormal_and_tangent_to_the_sphere(on_sphere):
    points, _, frames = on_sphere
    assert np.allclose(np.swapaxes(frames, 1, 2) @ frames, np.eye(2))
    assert np.abs(np.einsum("nd,ndm->nm", points, frames)).max() < 0.05


def test_transport_is_orthogonal_and_its_own_inverse_on_the_way_back(on_sphere):
    _, adjacency, frames = on_sphere
    moves = parallel_transport(adjacency, frames)
    assert np.allclose(np.swapaxes(moves, 1, 2) @ moves, np.eye(2))
    number = sp.csr_array((np.arange(1, adjacency.nnz + 1), adjacency.indices, adjacency.indptr), shape=adjacency.shape)
    back = number.T.tocsr()
    back.sort_indices()
    assert np.allclose(moves[back.data - 1], np.swapaxes(moves, 1, 2), atol=1e-10)


def test_quadratic_form_sums_what_transport_does_not_explain(on_sphere):
    _, adjacency, frames = on_sphere
    field = np.random.default_rng(0).normal(size=(1000, 2))
    source, target = np.repeat(np.arange(1000), np.diff(adjacency.indptr)), adjacency.indices
    moved = np.einsum("eab,eb->ea", parallel_transport(adjacency, frames), field[target])
    energy = 0.5 * ((field[source] - moved) ** 2).sum()
    operator = connection_laplacian(adjacency, frames)
    assert field.ravel() @ operator @ field.ravel() == pytest.approx(energy)
    assert abs(operator - operator.T).max() < 1e-12


def test_spectrum_does_not_depend_on_the_frames(on_sphere):
    _, adjacency, frames = on_sphere
    turns = np.linalg.qr(np.random.default_rng(0).normal(size=(1000, 2, 2)))[0]
    values = [eigenpairs(connection_laplacian(adjacency, f), 8).values for f in (frames, frames @ turns)]
    assert np.allclose(*values, atol=1e-9)


def test_sphere_has_the_spectrum_of_the_bochner_laplacian_and_no_parallel_field(on_sphere):
    # l(l+1) - 1 with multiplicities 6, 10, 14, in units of the graph Laplacian, whose first eigenvalue on the sphere is 2.
    _, adjacency, frames = on_sphere
    unit = eigenpairs(laplacian(adjacency), 4).values[1:].mean() / 2
    values = eigenpairs(connection_laplacian(adjacency, frames), 30).values / unit
    for part, exact, tol in ((slice(0, 6), 1, 0.03), (slice(6, 16), 5, 0.03), (slice(16, 30), 11, 0.06)):
        assert values[part].mean() == pytest.approx(exact, rel=tol)
    copies = eigenpairs(sp.csr_array(sp.kron(laplacian(adjacency), sp.eye_array(2))), 8).values / unit
    assert copies[1] < 1e-9 and copies[2] == pytest.approx(2, rel=0.05)  # without transport: two scalar Laplacians


def test_flat_torus_has_two_parallel_fields_and_twice_the_scalar_spectrum():
    angle = 2 * np.pi * np.arange(32) / 32
    u, v = (a.ravel() for a in np.meshgrid(angle, angle))
    points = np.stack([np.cos(u), np.sin(u), np.cos(v), np.sin(v)], axis=1)
    points += 1e-6 * np.random.default_rng(0).normal(size=points.shape)
    adjacency, frames = framed(points, 8)
    vector = eigenpairs(connection_laplacian(adjacency, frames), 18).values
    scalar = eigenpairs(laplacian(adjacency), 9).values
    assert np.allclose(vector, np.repeat(scalar, 2), atol=1e-3)
    assert vector[1] < 1e-6 < vector[2]


@pytest.mark.parametrize("kind", ["normalised", "random-walk"])
def test_scaled_kinds_have_their_spectrum_between_zero_and_two(kind, on_sphere):
    _, adjacency, frames = on_sphere
    operator = connection_laplacian(adjacency[:200, :200], frames[:200], kind)
    values = np.linalg.eigvals(operator.toarray()).real
    assert values.min() > -1e-10 and values.max() < 2 + 1e-10


def test_frames_of_another_number_are_refused(on_sphere):
    _, adjacency, frames = on_sphere
    with pytest.raises(ValueError, match="frames must be one for each of the 1000 nodes, got 10"):
        connection_laplacian(adjacency, frames[:10])
