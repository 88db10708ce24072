"""Integrators against exact solutions: orders of convergence, moments, and likelihoods of linear flows."""

import math

import numpy as np
import pytest
import torch

from semigroup.sde import (
    SolverFailed,
    divergence,
    euler_maruyama,
    heun,
    rademacher,
    solve_ode,
    solve_ode_with_divergence,
)

F64 = torch.float64


def pendulum(x, t):
    """A field that depends on time and mixes the coordinates."""
    return torch.stack([x[:, 1], -torch.sin(x[:, 0]) + math.cos(3 * t)], dim=1)


START = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=F64)


def error(method, n_steps, **options):
    exact = solve_ode(pendulum, START, [0.0, 2.0], rtol=1e-11, atol=1e-11)[:, 1]
    return (method(pendulum, START, [0.0, 2.0], 0.0, max_step=2 / n_steps, **options)[:, 1] - exact).abs().max().item()


@pytest.mark.parametrize(
    ("method", "options", "order"),
    [(euler_maruyama, {}, 1), (heun, {}, 2), (heun, {"noise_first": True}, 1)],
    ids=["euler", "heun", "heun, noise first"],
)
def test_order_of_convergence_without_noise(method, options, order):
    assert math.log2(error(method, 200, **options) / error(method, 400, **options)) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("method", [euler_maruyama, heun])
def test_going_back_in_time_undoes_going_forward(method):
    there = method(pendulum, START, [0.0, 1.0], 0.0, max_step=1e-4)[:, -1]
    back = method(pendulum, there, [1.0, 0.0], 0.0, max_step=1e-4)[:, -1]
    assert torch.allclose(back, START, atol=1e-3 if method is euler_maruyama else 1e-7)


@pytest.mark.parametrize(
    ("method", "options"),
    [(euler_maruyama, {}), (heun, {}), (heun, {"noise_first": True})],
    ids=["euler", "heun", "heun, noise first"],
)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_linear_sde_has_its_exact_moments(method, options, backward):
    # Forward dX = -X dt + s dW; backward in time the same law needs the drift's sign turned.
    sign, s, n = (1.0 if backward else -1.0), 0.8, 40_000
    times = [1.0, 0.0] if backward else [0.0, 1.0]
    generator = torch.Generator().manual_seed(0)
    x = method(
        lambda x, t: sign * x, torch.full((n, 1), 2.0, dtype=F64), times, s, generator, max_step=0.005, **options
    )
    end = x[:, -1, 0]
    variance = s**2 / 2 * (1 - math.exp(-2))
    assert end.mean().item() == pytest.approx(2 * math.exp(-1), abs=5 * math.sqrt(variance / n) + 0.005)
    assert end.var().item() == pytest.approx(variance, rel=0.03)


def test_noise_may_depend_on_time():
    generator = torch.Generator().manual_seed(1)
    x = euler_maruyama(lambda x, t: 0 * x, torch.zeros(40_000, 1), [0.0, 1.0], lambda t: t, generator, max_step=0.01)
    assert x[:, -1].var().item() == pytest.approx(1 / 3, rel=0.04)


def test_the_last_step_may_be_eulers_where_the_drift_is_not_defined():
    visited = []

    def drift(x, t):
        visited.append(t)
        return x / t

    grid = [4.0, 2.0, 1.0, 0.0]
    path = heun(drift, torch.ones(1, 1, dtype=F64), grid, euler_last=True)
    assert min(visited) == 1.0
    assert len(visited) == 5
    assert path[0, :, 0].tolist() == pytest.approx([1.0, 0.5, 0.25, 0.0])


def test_only_the_last_state_is_kept_on_request():
    path = heun(pendulum, START, [0.0, 0.5, 1.0], max_step=0.1)
    last = heun(pendulum, START, [0.0, 0.5, 1.0], max_step=0.1, keep="last")
    assert path.shape == (2, 3, 2)
    assert last.shape == (2, 1, 2)
    assert torch.equal(path[:, -1:], last)
    adaptive = solve_ode(pendulum, START, [0.0, 0.5, 1.0])
    assert torch.equal(adaptive[:, -1:], solve_ode(pendulum, START, [0.0, 0.5, 1.0], keep="last"))


def test_adaptive_solver_stops_where_it_is_told():
    def kink(x, t):
        return torch.full_like(x, 1.0 if t < 0.5 else -1.0)

    end = solve_ode(kink, torch.zeros(1, 1, dtype=F64), [0.0, 1.0], stops=[0.5], rtol=1e-9, atol=1e-9)[0, -1, 0]
    assert end.item() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("times", [[0.0, 0.3, 1.0], [1.0, 0.0]])
def test_adaptive_solver_never_leaves_the_interval(times):
    visited = []

    def drift(x, t):
        visited.append(t)
        return -x

    solve_ode(drift, torch.ones(1, 1, dtype=F64), times)
    assert 0 <= min(visited) < 1e-12
    assert 1 - 1e-12 < max(visited) <= 1


@pytest.mark.parametrize("whose", ["start", "drift"])
def test_gradients_through_the_adaptive_solver_are_those_of_finite_differences(whose):
    """Of a drift that depends on time, where a step whose size had a gradient of its own would leave a wrong one."""

    def end(value):
        x0 = value if whose == "start" else torch.full_like(value, 0.3)
        slope = 1.0 if whose == "start" else value
        path = solve_ode(lambda x, t: -(x**3) + slope * torch.sin(3 * x) * t, x0, [1.0, 0.0], keep="last")
        return path[:, 0].sum()

    value = torch.full((1, 1), 0.3 if whose == "start" else 1.0, dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(end(value), value)
    with torch.no_grad():
        difference = (end(value + 1e-3) - end(value - 1e-3)) / 2e-3
    assert gradient.item() == pytest.approx(difference.item(), rel=2e-3)


def field(x):
    return torch.stack([x[:, 0] ** 2 * x[:, 1], torch.sin(x[:, 1]) + x[:, 0], x[:, 2] ** 3], dim=1)


def test_divergence_is_the_trace_of_the_jacobian():
    x = torch.randn(5, 3, dtype=F64, generator=torch.Generator().manual_seed(2))
    value, trace = divergence(field, x)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda row: field(row[None])[0], row) for row in x])
    assert torch.equal(value, field(x))
    assert torch.allclose(trace, jacobian.diagonal(dim1=1, dim2=2).sum(1), atol=1e-12)


def test_hutchinson_is_exact_over_all_signs_and_unbiased_over_random_ones():
    x = torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(3))
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=F64)] * 3)
    exact = divergence(field, x)[1]
    assert torch.allclose(divergence(field, x, probes=signs[:, None].expand(-1, 4, -1))[1], exact)
    probes = rademacher(20_000, x, torch.Generator().manual_seed(4))
    assert torch.allclose(divergence(field, x, probes=probes)[1], exact, atol=0.1)


def test_divergence_of_images_counts_every_pixel():
    x = torch.randn(2, 1, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(divergence(lambda x: x**2, x)[1], 2 * x.flatten(1).sum(1))


@pytest.mark.parametrize("times", [[0.0, 1.0], [1.0, 0.0]])
def test_density_carried_by_a_linear_flow_stays_gaussian(times):
    A = torch.tensor([[0.5, -1.0], [0.3, -0.2]], dtype=F64)
    x0 = torch.randn(6, 2, dtype=F64, generator=torch.Generator().manual_seed(6))
    path, integral = solve_ode_with_divergence(lambda x, t: x @ A.T, x0, times, rtol=1e-9, atol=1e-9)
    move = torch.matrix_exp(A * (times[1] - times[0]))
    assert torch.allclose(path[:, 1], x0 @ move.T, atol=1e-7)
    before = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
    after = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=F64), move @ move.T)
    assert torch.allclose(before.log_prob(x0) - integral[:, 1], after.log_prob(path[:, 1]), atol=1e-7)
    assert not integral[:, 0].any()


def test_exploding_paths_are_reported_with_their_time_and_share():
    x0 = torch.tensor([[1.0], [1e15]])
    with pytest.raises(SolverFailed, match=r"50.0% of the paths are NaN or infinite at time 2"):
        euler_maruyama(lambda x, t: x * x.abs(), x0, [0.0, 1.0, 2.0, 3.0], 0.0)


def test_failing_adaptive_solver_says_so():
    with pytest.raises(SolverFailed, match="dopri5"):
        solve_ode(lambda x, t: x**2, torch.ones(1, 1, dtype=F64), [0.0, 2.0])


def test_draws_are_seeded():
    runs = [
        heun(pendulum, START, np.linspace(0, 1, 5).tolist(), 0.3, torch.Generator().manual_seed(seed))
        for seed in (7, 7, 8)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
