"""Self-repellent walks: kernel and covariances against closed form and independent computation, runs against theory."""

import os
import signal
import time

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from joblib import Parallel, parallel_config
from scipy.linalg import solve_continuous_lyapunov
from scipy.optimize import approx_fprime
from sklearn.exceptions import ConvergenceWarning

from semigroup.data.decentralised import (
    DecentralisedProblem,
    GradientOracles,
    Quadratic,
    random_least_squares,
    random_logistic,
    random_quadratic,
)
from semigroup.jobs import Context
from semigroup.jobs.srrw import perform, political_blogs, read
from semigroup.operators import metropolis_hastings
from semigroup.operators.topology import complete, cycle, path, star
from semigroup.optimize.srrw import (
    SRRW,
    ApproximationProblem,
    FunctionUpdate,
    NotReversible,
    asymptotic_covariance,
    base_chain,
    gradient_update,
    iid_covariance,
    mean_estimation,
    self_repellent_kernel,
    temporal_difference,
    visit_covariance,
)
from semigroup.optimize.srrw.walkers import SelfRepellentWalkers, repellence


def chords() -> nx.Graph:
    graph = nx.cycle_graph(10)
    graph.add_edges_from([(0, 5), (2, 7)])
    return graph


@pytest.fixture(scope="module")
def means() -> ApproximationProblem:
    return ApproximationProblem(chords(), mean_estimation(np.random.default_rng(0).standard_normal(10)))


def walkers_of(chain, nodes, *, alpha=3.0, a=0.8, visits=None, shared=False, schedule="constant", seed=0):
    return SelfRepellentWalkers(
        chain,
        np.asarray(nodes),
        alpha=alpha,
        schedule=schedule,
        growth=1.0,
        memory_exponent=a,
        shared=shared,
        visits=chain.law if visits is None else visits,
        seed=seed,
    )


POOL = Parallel(n_jobs=1)


# --- the walk --------------------------------------------------------------------------------------------------------


def test_kernel_has_the_stationary_law_of_the_paper_and_is_the_base_chain_at_its_law():
    chain = base_chain(chords(), target=np.arange(1.0, 11.0))
    x = np.random.default_rng(1).dirichlet(np.ones(10))
    kernel = self_repellent_kernel(chain.transitions, chain.law, x, 2.5)
    push = (x / chain.law) ** -2.5
    law = chain.law * push * (chain.transitions @ push)
    np.testing.assert_allclose(kernel.sum(axis=1), 1)
    np.testing.assert_allclose(law @ kernel, law, rtol=1e-12)
    at_law = self_repellent_kernel(chain.transitions, chain.law, 7 * chain.law, 2.5)
    np.testing.assert_allclose(at_law.toarray(), chain.transitions.toarray(), atol=1e-14)


def test_one_step_follows_the_kernel():
    chain = base_chain(chords())
    x = np.random.default_rng(2).dirichlet(np.ones(10))
    n = 40_000
    walkers = walkers_of(chain, np.zeros(n, dtype=int), alpha=1.5, visits=x)
    shares = np.bincount(walkers.advance(1, POOL)[:, 0], minlength=10) / n
    expected = self_repellent_kernel(chain.transitions, chain.law, x, 1.5).toarray()[0]
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.25 / n))
    assert (shares[expected == 0] == 0).all()


@pytest.mark.parametrize("a", [0.6, 0.8, 1.0])
def test_lazy_decay_gives_the_visit_measure_of_the_recursion(a):
    chain = base_chain(chords(), target=np.arange(1.0, 11.0))
    walkers = walkers_of(chain, [0, 3], alpha=2.0, a=a)
    visited = np.concatenate([walkers.advance(700, POOL), walkers.advance(1300, POOL)], axis=1)
    for token in range(2):
        x = chain.law.copy()
        for n, node in enumerate(visited[token]):
            gamma = (n + 2.0) ** -a
            x *= 1 - gamma
            x[node] += gamma
        np.testing.assert_allclose(walkers.visits[token], x, rtol=1e-9)
    if a == 1:  # the initial measure counts as one visit
        counts = np.stack([np.bincount(row, minlength=10) for row in visited])
        np.testing.assert_allclose(walkers.visits, (counts + chain.law) / 2001, rtol=1e-9)


def test_huge_repellence_and_vanishing_visits_do_not_overflow():
    chain = base_chain(complete(50))
    visits = np.full(50, 1e-300)
    visits[0] = 1.0
    walkers = walkers_of(chain, [0], alpha=1e4, a=0.51, visits=visits)
    visited = walkers.advance(200_000, POOL)
    assert np.isfinite(walkers.log_ratio).all() and np.isfinite(walkers.visits).all()
    assert sorted(visited[0, :49].tolist()) == list(range(1, 50)), "nodes never seen come first"
    np.testing.assert_allclose(walkers.visits.sum(), 1)


def test_without_repellence_the_walk_is_the_base_chain():
    chain = base_chain(chords())
    walkers = walkers_of(chain, np.zeros(200, dtype=int), alpha=0.0)
    visited = walkers.advance(2000, POOL)
    counts = np.zeros((10, 10))
    np.add.at(counts, (visited[:, :-1].ravel(), visited[:, 1:].ravel()), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, chain.transitions.toarray(), atol=0.012)
    assert (shares[chain.transitions.toarray() == 0] == 0).all()


def test_self_loops_are_repelled_too():
    chain = base_chain(star(5))  # a leaf rests with probability 3/4
    visits = chain.law.copy()
    visits[1] = 10.0
    rests = self_repellent_kernel(chain.transitions, chain.law, visits, 5.0).toarray()[1, 1]
    walkers = walkers_of(chain, np.ones(4000, dtype=int), alpha=5.0, visits=visits)
    assert chain.transitions[1, 1] == pytest.approx(0.75) and rests < 1e-6
    assert (walkers.advance(1, POOL) == 0).mean() > 0.999


def test_walks_do_not_depend_on_threads_or_on_the_blocks_in_which_they_are_made():
    chain = base_chain(chords())
    whole = walkers_of(chain, np.arange(6)).advance(500, POOL)
    parts = walkers_of(chain, np.arange(6))
    with Parallel(n_jobs=3, prefer="threads") as pool:
        pieces = [parts.advance(n, pool) for n in (1, 99, 400)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    assert (whole[0] != whole[1]).any()


def test_walks_do_not_depend_on_the_backend_that_joblib_is_configured_with(monkeypatch):
    monkeypatch.setattr("semigroup.optimize.srrw.walkers.STEPS_WORTH_A_THREAD", 1)
    model = SRRW(n_steps=50, n_tokens=4, n_jobs=2, random_state=0)
    with parallel_config(backend="loky", n_jobs=2):  # first, so that no memory is left that holds the result
        found = model.sample(chords()).nodes
    np.testing.assert_array_equal(found, model.sample(chords()).nodes)


def test_cooperating_tokens_share_one_visit_measure_and_avoid_each_other():
    settings = {"alpha": 10.0, "memory_exponent": 1.0, "n_steps": 20, "n_tokens": 8, "random_state": 0}
    alone, together = (SRRW(cooperate=c, **settings).sample(complete(200)) for c in (False, True))
    assert together.visits.shape == (1, 200) and alone.visits.shape == (8, 200)
    counts = np.bincount(together.nodes[:, 1:].ravel(), minlength=200)
    np.testing.assert_allclose(together.visits[0], (counts / 8 + 1 / 200) / 21, rtol=1e-9)
    np.testing.assert_allclose(together.frequencies[0], counts / 160)
    # Alone, eight tokens of 20 steps see 200 (1 - 0.9^8) = 114 different nodes.
    assert len(np.unique(alone.nodes[:, 1:])) < 130 and (counts > 0).sum() > 145


def test_repellence_grows_to_its_limit():
    steps = np.arange(2000)
    for schedule in ("log", "steps"):
        values = repellence(schedule, 5.0, 1.0, steps)
        assert values[0] == 0 and values[-1] == 5 and (np.diff(values) >= 0).all()
    assert len(np.unique(repellence("steps", 5.0, 1.0, steps))) <= 12
    np.testing.assert_allclose(repellence("log", 5.0, 0.5, np.array([9])), 0.5 * np.log(10))


def test_sampling_error_falls_with_repellence_for_any_target():
    target = np.arange(1.0, 11.0)
    errors = []
    for alpha in (0.0, 2.0, 20.0):
        walks = SRRW(alpha=alpha, memory_exponent=1.0, n_steps=20_000, n_tokens=20, random_state=0).sample(
            chords(), target=target
        )
        np.testing.assert_allclose(walks.law, target / 55)
        errors.append(((walks.frequencies - walks.law) ** 2).sum(axis=1).mean())
    assert errors[1] < 0.5 * errors[0] and errors[2] < 0.4 * errors[1]


@pytest.mark.parametrize("sampler", ["iid", "shuffle", "non-backtracking"])
def test_baselines_visit_by_their_law(sampler):
    walks = SRRW(sampler=sampler, n_steps=20_000, n_tokens=3, random_state=0).sample(chords())
    degree = np.array([d for _, d in chords().degree()])
    np.testing.assert_allclose(walks.law, degree / 24 if sampler == "non-backtracking" else np.full(10, 0.1))
    np.testing.assert_allclose(walks.frequencies, np.tile(walks.law, (3, 1)), atol=0.012)
    if sampler == "shuffle":
        passes = walks.nodes[:, 1:].reshape(3, -1, 10)
        assert (np.sort(passes, axis=2) == np.arange(10)).all() and (passes[0] != passes[1]).any()
    if sampler == "non-backtracking":
        assert (walks.nodes[:, 2:] != walks.nodes[:, :-2]).all()


# --- base chains -----------------------------------------------------------------------------------------------------


def test_chains_have_the_law_they_promise():
    target = np.arange(1.0, 11.0)
    for arguments, law in (
        ({}, np.ones(10)),
        ({"target": target}, target),
        ({"target": target, "laziness": 0.3}, target),
        ({"chain": "simple"}, [d for _, d in chords().degree()]),
        ({"transitions": metropolis_hastings(base_chain(chords()).transitions, target)}, target),
    ):
        chain = base_chain(chords(), **arguments)
        np.testing.assert_allclose(chain.law, np.array(law) / np.sum(law), rtol=1e-9)
        assert chain.reversible
        np.testing.assert_allclose(chain.law @ chain.transitions, chain.law, rtol=1e-9)
    assert base_chain(chords(), "simple", laziness=0.3).transitions.diagonal() == pytest.approx(0.3)


def drifting(n: int = 5) -> np.ndarray:
    """A walk round a cycle that prefers one direction: doubly stochastic, not reversible."""
    return 0.7 * np.roll(np.eye(n), 1, axis=1) + 0.3 * np.roll(np.eye(n), -1, axis=1)


def test_a_chain_that_is_not_reversible_walks_with_a_warning_and_has_no_theory():
    with pytest.warns(NotReversible, match="not reversible"):
        chain = base_chain(cycle(5), transitions=drifting())
    np.testing.assert_allclose(chain.law, 0.2)
    with pytest.raises(ValueError, match="reversible"):
        asymptotic_covariance(drifting(), np.ones(5), np.arange(5.0)[:, None] - 2, [[-1.0]], 1.0)


def test_a_periodic_chain_is_fine():
    chain = base_chain(path(2), "simple")  # eigenvalue -1
    assert np.isfinite(asymptotic_covariance(chain.transitions, chain.law, [[1.0], [-1.0]], [[-1.0]], 2.0)).all()
    walks = SRRW(chain="simple", alpha=3.0, n_steps=100).sample(path(2))
    assert (walks.nodes[0, 1:] != walks.nodes[0, :-1]).all()


# --- theory ----------------------------------------------------------------------------------------------------------


def setting(d: int = 3, seed: int = 0):
    generator = np.random.default_rng(seed)
    target = generator.uniform(0.5, 2, 10)
    chain = base_chain(chords(), target=target)
    updates = generator.standard_normal((10, d))
    updates -= chain.law @ updates
    jacobian = -2 * np.eye(d) + 0.5 * generator.standard_normal((d, d))
    return chain, updates, jacobian


@pytest.mark.parametrize("exponent", [0.9, 1.0])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 10.0])
def test_regime_two_is_the_block_of_the_joint_lyapunov_equation(alpha, exponent):
    chain, updates, jacobian = setting()
    mu, P = chain.law, chain.transitions.toarray()
    n, d = updates.shape
    J = 2 * alpha * np.outer(mu, np.ones(n)) - alpha * P.T - (alpha + 1) * np.eye(n)
    drift = np.block([[J, np.zeros((n, d))], [updates.T @ (J + np.eye(n)), jacobian]])
    if exponent == 1.0:
        drift += 0.5 * np.eye(n + d)
    # Noise of the base chain from its fundamental matrix, not from eigenvectors.
    Z = np.linalg.inv(np.eye(n) - P + np.outer(np.ones(n), mu))
    D = np.diag(mu)
    noise_x = D @ Z + Z.T @ D - D - np.outer(mu, mu)
    lift = np.vstack([np.eye(n), updates.T])
    # The visits sum to one: their direction mu is taken out by a drift that ends it.
    joint = solve_continuous_lyapunov(drift - 5 * np.outer(np.r_[mu, np.zeros(d)], np.r_[np.ones(n), np.zeros(d)]),
                                      -lift @ noise_x @ lift.T)  # fmt: skip
    found = asymptotic_covariance(P, mu, updates, jacobian, alpha, "ii", exponent, exponent)
    np.testing.assert_allclose(found, joint[n:, n:], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(visit_covariance(P, mu, alpha, exponent), joint[:n, :n], rtol=1e-8, atol=1e-10)


def test_regime_one_with_repellence_zero_is_the_covariance_of_the_base_chain():
    chain, updates, jacobian = setting()
    mu, P = chain.law, chain.transitions.toarray()
    Z = np.linalg.inv(np.eye(10) - P + np.outer(np.ones(10), mu))
    D = np.diag(mu)
    U = updates.T @ (D @ Z + Z.T @ D - D - np.outer(mu, mu)) @ updates
    expected = solve_continuous_lyapunov(jacobian, -U)
    for a, b in ((0.7, 0.9), (0.8, 0.8), (0.9, 0.7)):
        np.testing.assert_allclose(asymptotic_covariance(P, mu, updates, jacobian, 0.0, a=a, b=b), expected)


def test_covariances_are_ordered_as_the_paper_says():
    chain, updates, jacobian = setting()

    def of(alpha, a=0.7, b=0.9):
        return asymptotic_covariance(chain.transitions, chain.law, updates, jacobian, alpha, a=a, b=b)

    def smaller(one, other):
        return np.linalg.eigvalsh(other - one).min() > 0

    assert smaller(of(1.0), of(0.0)) and smaller(of(5.0), of(1.0))
    assert smaller(of(5.0), of(5.0, 0.9, 0.9)) and smaller(of(5.0, 0.9, 0.9), of(5.0, 0.9, 0.7))
    np.testing.assert_array_equal(of(5.0, 0.9, 0.7), of(0.0, 0.9, 0.7))
    assert smaller(of(5.0), iid_covariance(chain.law, updates, jacobian))
    # O(1/alpha^2) for the iterates, O(1/alpha) for the visits.
    assert np.trace(of(2000.0)) / np.trace(of(1000.0)) == pytest.approx(0.25, rel=0.02)
    traces = [np.trace(visit_covariance(chain.transitions, chain.law, alpha)) for alpha in (1000.0, 2000.0)]
    assert traces[1] / traces[0] == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("alpha", "a", "b"), [(0.0, 0.6, 1.0), (2.0, 0.6, 1.0), (2.0, 1.0, 1.0), (8.0, 0.8, 0.8)], ids=str
)
def test_simulated_covariance_of_the_iterates_is_the_predicted_one(means, alpha, a, b):
    model = SRRW(
        alpha=alpha, memory_exponent=a, step_exponent=b, n_steps=20_000, n_tokens=400, n_records=2, random_state=0
    )
    result = model.minimize(means)
    spread = result.iterates.var(ddof=1) * 20_001**b
    # The standard error of a variance of 400 normal numbers is 7 %.
    assert spread == pytest.approx(np.trace(model.predicted_covariance(means)), rel=0.25)


def test_predicted_covariance_holds_for_importance_weights_step_size_and_heavy_ball():
    problem = ApproximationProblem(star(6), mean_estimation(np.arange(6.0)))
    for arguments in ({"step_size": 2.0}, {"friction": 2.0}, {"average": "stationary"}, {"sampler": "iid"}):
        settings = {"chain": "simple", "laziness": 0.2, "alpha": 0.0, "memory_exponent": 0.7, "step_exponent": 1.0}
        model = SRRW(**(settings | arguments), n_steps=20_000, n_tokens=400, n_records=2, random_state=0)
        result = model.minimize(problem)
        expected = 2.5 if model.average == "uniform" else 0.1 * 15  # the centre, agent 0, has half of the law
        np.testing.assert_allclose(result.root, [expected])
        spread = result.iterates.var(ddof=1) * 20_001
        assert spread == pytest.approx(np.trace(model.predicted_covariance(problem)), rel=0.25), arguments


# --- updates ---------------------------------------------------------------------------------------------------------


def array_updates():
    generator = np.random.default_rng(3)
    phi, after = generator.standard_normal((2, 10, 3))
    graph = chords()
    return {
        "quadratic": gradient_update(random_quadratic(graph, n_features=3, random_state=0).objective),
        "least squares": gradient_update(random_least_squares(graph, n_samples=4, random_state=0).objective),
        "logistic": gradient_update(random_logistic(graph, n_samples=3, n_features=3, random_state=0).objective),
        "mean": mean_estimation(generator.standard_normal((10, 2))),
        "temporal difference": temporal_difference(phi, generator.standard_normal(10), after, discount=0.5),
    }


@pytest.mark.parametrize("name", ["quadratic", "least squares", "logistic", "mean", "temporal difference"])
@pytest.mark.parametrize("friction", [None, 1.5])
def test_compiled_loop_is_the_recursion_written_out(name, friction):
    update = array_updates()[name]
    d = update.n_features
    slow = FunctionUpdate(lambda theta, i: update.values(theta)[i], n_agents=10, n_features=d)
    visited = np.random.default_rng(0).integers(10, size=(2, 60)).astype(np.int32)
    sizes = 0.05 * np.arange(2, 62) ** -0.7
    ends = []
    for rule in (update, slow):
        theta = np.tile(np.linspace(-1, 1, d), (2, 1))
        momentum = None if friction is None else np.zeros((2, d))
        rule.advance(
            theta, momentum, visited, gains=np.linspace(0.5, 2, 10), sizes=sizes, friction=friction or 0.0, pool=POOL
        )
        ends.append(theta)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-10)
    theta, weights = np.linspace(-1, 1, d), np.linspace(0.1, 1, 10)
    numeric = approx_fprime(theta, lambda t: update.mean(t, weights), 1e-7)
    np.testing.assert_allclose(update.jacobian(theta, weights), numeric, atol=1e-4 * np.abs(numeric).max())
    np.testing.assert_allclose(slow.jacobian(theta, weights), update.jacobian(theta, weights), rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_the_objective_and_the_root_its_optimum():
    for problem in (
        random_quadratic(chords(), random_state=0),
        random_least_squares(chords(), random_state=0),
        random_logistic(chords(), random_state=0),
    ):
        objective, update = problem.objective, gradient_update(problem.objective)
        theta = np.linspace(-1, 1, objective.n_features)
        np.testing.assert_allclose(update.values(theta), -objective.gradients(np.tile(theta, (10, 1))), rtol=1e-10)
        np.testing.assert_allclose(update.root(np.full(10, 0.1)), objective.optimum(), rtol=1e-8)


def test_temporal_differences_find_the_values_of_a_policy():
    generator = np.random.default_rng(0)
    chain = base_chain(chords()).transitions.toarray()
    policy = generator.dirichlet(np.ones(10), size=10)
    rewards = generator.standard_normal(10)
    values = np.linalg.solve(np.eye(10) - 0.8 * policy, rewards)
    update = temporal_difference(np.eye(10), rewards, policy, discount=0.8)
    problem = ApproximationProblem(chords(), update)
    np.testing.assert_allclose(update.root(np.full(10, 0.1)), values, rtol=1e-9)
    result = SRRW(alpha=5.0, step_size=20.0, step_exponent=0.9, n_steps=200_000, n_tokens=2, random_state=0).minimize(
        problem, transitions=chain
    )
    np.testing.assert_allclose(result.x, values, atol=0.1 * np.abs(values).max())


# --- runs ------------------------------------------------------------------------------------------------------------


def test_repellence_beats_the_base_chain_and_independent_draws_on_logistic_regression():
    problem = random_logistic(chords(), n_samples=1, n_features=3, random_state=1)
    settings = {"n_steps": 50_000, "n_tokens": 30, "n_records": 5, "random_state": 0}
    base, repelled = (SRRW(alpha=alpha, **settings).minimize(problem).gap for alpha in (0.0, 20.0))
    drawn = SRRW(sampler="iid", **settings).minimize(problem).gap
    shuffled = SRRW(sampler="shuffle", **settings).minimize(problem).gap
    assert repelled < 0.1 * base and repelled < 0.5 * drawn and shuffled < drawn


@pytest.mark.parametrize(
    "arguments",
    [
        {"chain": "simple"},
        {"friction": 1.0},
        {"alpha_schedule": "log"},
        {"cooperate": True},
        {"sampler": "non-backtracking"},
    ],
    ids=str,
)
def test_variants_converge_to_the_minimiser_of_the_plain_average(arguments):
    problem = random_logistic(chords(), n_samples=2, n_features=3, random_state=2)
    result = SRRW(n_steps=60_000, n_tokens=4, random_state=0, **arguments).minimize(problem, x0=np.ones(3))
    np.testing.assert_allclose(result.root, problem.objective.optimum(), rtol=1e-8)
    assert result.gap < 1e-3 * result.errors[0].mean()


def test_result_says_what_was_done(means):
    model = SRRW(n_steps=1000, n_tokens=3, n_records=7, random_state=0)
    result = model.minimize(means, starts=[0, 1, 2])
    assert result.success and result.status == 0 and result.nit == 1000 and result.njev == 3000
    assert result.x.shape == (1,) and result.iterates.shape == (3, 1) and result.errors.shape[1] == 3
    assert result.history.time[0] == 0 and result.history.time[-1] == 1000 and result.history.gradients[-1] == 3000
    assert 0 < result.history.communications[-1] <= 3000
    np.testing.assert_allclose(result.errors[-1], ((result.iterates - result.root) ** 2).sum(axis=1))
    np.testing.assert_allclose(result.visits.sum(axis=1), 1)
    again = SRRW(n_steps=1000, n_tokens=3, n_records=7, n_jobs=2, random_state=0).minimize(means, starts=[0, 1, 2])
    np.testing.assert_array_equal(again.iterates, result.iterates)


def test_functions_of_the_user_run_and_are_checked(means):
    values = means.update.terms.linear[:, 0]
    oracles = GradientOracles([lambda x, c=c: x - c for c in values], n_features=1, mu=1.0, smoothness=1.0)
    settings = {"n_steps": 500, "random_state": 0}
    expected = SRRW(**settings).minimize(means).x
    np.testing.assert_allclose(SRRW(**settings).minimize(DecentralisedProblem(chords(), oracles)).x, expected)
    for bad, message in ((lambda t, i: np.zeros(2), "shape"), (lambda t, i: t * np.nan, "NaN")):
        problem = ApproximationProblem(chords(), FunctionUpdate(bad, n_agents=10, n_features=1))
        with pytest.raises(ValueError, match=message):
            SRRW(**settings).minimize(problem)


def test_divergence_is_said_with_the_step():
    problem = DecentralisedProblem(cycle(5), Quadratic(np.stack([50 * np.eye(1)] * 5), np.ones((5, 1))))
    with pytest.warns(ConvergenceWarning, match=r"step \d+.*step_size"):
        result = SRRW(step_size=1e3, step_exponent=0.51, n_steps=50_000, random_state=0).minimize(problem)
    assert result.status == 2 and not result.success


@pytest.mark.parametrize("sampler", ["srrw", "iid", "shuffle", "non-backtracking"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(sampler, means, tmp_path, monkeypatch):
    settings = {"sampler": sampler, "n_steps": 3000, "n_tokens": 2, "n_records": 5, "friction": 1.0, "random_state": 0}
    whole = SRRW(**settings).minimize(means)
    monkeypatch.setattr("semigroup.optimize.srrw.estimator.BLOCK", 400)

    advance = type(means.update).advance

    def stop(self, *arguments, **named):
        stop.calls += 1
        if stop.calls == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(self, *arguments, **named)

    stop.calls = 0
    monkeypatch.setattr(type(means.update), "advance", stop)
    with pytest.raises(KeyboardInterrupt, match="srrw: stopped at step"):
        SRRW(**settings).minimize(means, checkpoint_dir=tmp_path)
    result = SRRW(**settings).minimize(means, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_allclose(result.iterates, whole.iterates, rtol=1e-12)
    np.testing.assert_allclose(result.visits, whole.visits, rtol=1e-9)
    np.testing.assert_array_equal(result.history.communications, whole.history.communications)
    with pytest.raises(ValueError, match="checkpoint_dir"):
        SRRW(**(settings | {"n_tokens": 3})).minimize(means, checkpoint_dir=tmp_path, resume=True)


def test_a_run_without_a_seed_goes_on_with_the_one_it_drew(means, tmp_path):
    model = SRRW(n_steps=300)
    result = model.minimize(means, checkpoint_dir=tmp_path)
    np.testing.assert_array_equal(model.minimize(means, checkpoint_dir=tmp_path, resume=True).x, result.x)
    assert model.minimize(means, checkpoint_dir=tmp_path).x != result.x


def test_a_saved_model_loads_with_its_results(means, tmp_path):
    model = SRRW(n_steps=200, n_tokens=2, random_state=0)
    model.minimize(means)
    loaded = SRRW.from_pretrained(model.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.iterates_, model.iterates_)
    np.testing.assert_array_equal(loaded.history.gap, model.history.gap)


def test_compiled_code_makes_a_million_steps_a_second():
    problem = random_logistic(chords(), n_samples=1, n_features=22, random_state=0)
    model = SRRW(alpha=10.0, n_steps=400_000, n_records=2, random_state=0)
    SRRW(n_steps=10).minimize(problem)
    best = np.inf
    for _ in range(3):
        before = time.process_time()
        model.minimize(problem)
        best = min(best, time.process_time() - before)
    assert 400_000 / best > 1e6


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": np.nan}, "alpha"),
        ({"memory_exponent": 0.5}, "memory_exponent"),
        ({"memory_exponent": 1.2}, "memory_exponent"),
        ({"step_exponent": 0.4}, "step_exponent"),
        ({"step_size": 0.0}, "step_size"),
        ({"friction": -1.0}, "friction"),
        ({"laziness": 1.0}, "laziness"),
        ({"sampler": "gossip"}, "sampler"),
        ({"chain": "lazy"}, "chain"),
        ({"alpha_schedule": "linear"}, "alpha_schedule"),
        ({"alpha_growth": 0.0}, "alpha_growth"),
        ({"average": "median"}, "average"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_tokens": 0}, "n_tokens"),
        ({"n_records": 1}, "n_records"),
    ],
    ids=str,
)
def test_hyper_parameters_out_of_bounds_are_refused_by_name(means, arguments, message):
    with pytest.raises(ValueError, match=message):
        SRRW().set_params(**arguments).minimize(means)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": np.ones(9)}, "target"),
        ({"target": np.r_[0.0, np.ones(9)]}, "target must be positive"),
        ({"transitions": np.ones((10, 10))}, "stochastic"),
        ({"transitions": np.eye(10)}, "irreducible"),
        ({"transitions": drifting(9)}, "transitions must have shape"),
        ({"transitions": np.full((10, 10), 0.1), "target": np.arange(1.0, 11.0)}, "stationary"),
        ({"visits": np.r_[0.0, np.ones(9)]}, "visits must be positive"),
        ({"visits": np.ones(3)}, "visits must hold"),
        ({"starts": [0, 1]}, "starts must hold"),
        ({"starts": [99]}, "starts holds"),
        ({"x0": np.zeros(2)}, "x0"),
        ({"x0": [np.nan]}, "x0"),
        ({"resume": True}, "checkpoint_dir"),
    ],
    ids=str,
)
def test_bad_arguments_of_a_run_are_refused_by_name(means, arguments, message):
    with pytest.raises(ValueError, match=message):
        SRRW(n_steps=10).minimize(means, **arguments)


def test_problems_that_do_not_fit_are_refused():
    update = mean_estimation(np.arange(4.0))
    with pytest.raises(ValueError, match="4 agents"):
        ApproximationProblem(cycle(5), update)
    with pytest.raises(ValueError, match="connected"):
        ApproximationProblem(np.array([[0, 1], [2, 3], [3, 4]]), mean_estimation(np.ones(5)))
    with pytest.raises(TypeError, match="update"):
        ApproximationProblem(cycle(4), np.ones(4))
    with pytest.raises(TypeError, match="problem"):
        SRRW().minimize("problem")
    several = DecentralisedProblem([cycle(4), star(4)], Quadratic(np.stack([np.eye(1)] * 4), np.ones((4, 1))))
    with pytest.raises(ValueError, match="one network"):
        SRRW().minimize(several)
    with pytest.raises(ValueError, match="target needs"):
        SRRW(chain="simple").minimize(ApproximationProblem(cycle(4), update), target=np.ones(4))
    with pytest.raises(ValueError, match="features, next_features"):
        temporal_difference(np.eye(3), np.ones(2), np.eye(3), discount=0.5)
    with pytest.raises(TypeError, match="function"):
        FunctionUpdate(3, n_agents=2, n_features=1)


def test_theory_refuses_what_has_no_covariance():
    chain, updates, jacobian = setting()
    arguments = (chain.transitions, chain.law, updates)
    with pytest.raises(ValueError, match=r"real parts < -0\.5"):
        asymptotic_covariance(*arguments, -0.4 * np.eye(3), 1.0, b=1.0)
    assert np.isfinite(asymptotic_covariance(*arguments, -0.4 * np.eye(3), 1.0, b=0.9)).all()
    with pytest.raises(ValueError, match="regime must be 'i'"):
        asymptotic_covariance(*arguments, jacobian, 1.0, "iii", 0.8, 0.9)
    for wrong, message in (
        ((chain.transitions, chain.law, updates + 1, jacobian, 1.0), "mean zero"),
        ((chain.transitions, chain.law, updates[:5], jacobian, 1.0), "one row"),
        ((chain.transitions, chain.law, updates, np.eye(2), 1.0), "jacobian"),
        ((chain.transitions, chain.law, updates, jacobian, -1.0), "alpha"),
        ((chain.transitions, chain.law, updates, jacobian, 1.0, None, 0.5), "a must"),
        ((chain.transitions, np.ones(10), updates, jacobian, 1.0), "stationary"),
    ):
        with pytest.raises(ValueError, match=message):
            asymptotic_covariance(*wrong)
    with pytest.raises(ValueError, match="sampler"):
        SRRW(sampler="shuffle").predicted_covariance(ApproximationProblem(cycle(4), mean_estimation(np.arange(4.0))))


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def edges(tmp_path):
    file = tmp_path / "graph.csv"
    file.write_text("source,target\na,b\nb,c\nc,d\nd,a\na,c\n")
    return file


def test_tables_become_regressions_of_the_right_kind(edges, tmp_path):
    table = pd.DataFrame({"node": list("dcba"), "u": [4.0, 3, 2, 1], "v": [0.0, 1, 0, 1], "y": [1, 0, 0, 1]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    task = read([edges, tmp_path / "rows.csv"])
    assert task.columns == ["u", "v", "intercept"] and "logistic" in task.note
    assert task.problem.update.terms.targets.tolist() == [1, -1, -1, 1]  # of a, b, c, d
    table.assign(y=[4.0, 3.5, 2, 1]).to_parquet(tmp_path / "rows.parquet")
    assert "least squares" in read([edges, tmp_path / "rows.parquet"]).note
    table[["node", "u"]].to_csv(tmp_path / "one.csv", index=False)
    np.testing.assert_allclose(read([edges, tmp_path / "one.csv"]).problem.update.root(np.full(4, 0.25)), [2.5])
    np.savez(tmp_path / "rows.npz", X=np.random.default_rng(0).standard_normal((4, 2)), y=np.array([0, 1, 0, 1]))
    assert "logistic" in read([edges, tmp_path / "rows.npz"]).note
    assert "simulated" in read([edges]).note


def test_bad_tables_are_refused_by_name(edges, tmp_path):
    good = pd.DataFrame({"u": [4.0, 3, 2, 1], "y": [1.0, 0, 0, 1]})
    for bad, message in (
        (good[:3], "3 rows for 4 nodes"),
        (good.assign(node=list("abca")), "twice"),
        (good.assign(node=list("abcx")), "no node"),
        (good.assign(y=1.0), "constant"),
        (good.assign(u=[1.0, np.nan, 2, 3]), "missing"),
        (good.assign(y=list("nyny")), "last of which is the target"),
    ):
        bad.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(ValueError, match=message) as error:
            read([edges, tmp_path / "bad.csv"])
        assert "bad.csv" in str(error.value)
    with pytest.raises(ValueError, match="at most one table"):
        read([edges, edges, edges])


def test_shipped_network_is_connected():
    graph = political_blogs()
    assert graph.n_nodes == 1222 and sp.csgraph.connected_components(graph.adjacency)[0] == 1


def test_job_answers_in_the_words_of_the_user(edges, tmp_path):
    pd.DataFrame({"u": [4.0, 3, 2, 1], "y": [1.0, 0, 0, 1]}).to_csv(tmp_path / "rows.csv", index=False)
    outcome = perform(
        SRRW(alpha=7.0, n_steps=500, n_tokens=2, random_state=0), read([edges, tmp_path / "rows.csv"]), Context()
    )
    solution, agents = outcome.tables["solution"], outcome.tables["agents"]
    assert solution["variable"].tolist() == ["u", "intercept"] and agents["node"].tolist() == list("abcd")
    np.testing.assert_allclose(solution["token mean"], outcome.model.x_)
    assert agents["share of visits"].sum() == pytest.approx(1)
    assert any("α = 7" in name for name in outcome.metrics) and "4 agents" in outcome.summary
    drawn = perform(outcome.model.set_params(sampler="shuffle"), read([edges]), Context())
    assert not any("theory" in name for name in drawn.metrics)


def test_a_constant_column_is_left_out_though_its_deviation_is_a_rounding_error(tmp_path):
    from semigroup.jobs.srrw import _update

    values = np.column_stack([np.full(1000, 0.1), np.arange(1000.0), np.arange(1000.0) ** 2])
    assert _update(values, ["a", "b", "y"], tmp_path)[1] == ["b", "intercept"]
