"""DADAO: flow and events against independent computation, carriers against each other, results against the optimum."""

import os
import signal
import subprocess
import sys
import time

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from semigroup.data.decentralised import (
    DecentralisedProblem,
    GradientOracles,
    LeastSquares,
    Logistic,
    Quadratic,
    local_gradient,
    random_least_squares,
    random_logistic,
    random_quadratic,
)
from semigroup.operators.topology import barbell, complete, cycle, path, random_geometric, star
from semigroup.optimize.dadao import (
    DADAO,
    RatesTooLow,
    communication_jump,
    constants,
    flow_matrix,
    gradient_jump,
    last_snapshot,
    message,
    rates_of,
)
from semigroup.optimize.dadao.carriers import EventCarrier, levels
from semigroup.optimize.decentralised_baselines import adom_plus, continuized, extra, gradient_tracking, msda, nids


def as_oracles(problem):
    """The same problem, known by its gradients only."""
    objective = problem.objective
    functions = [lambda x, i=i: objective.gradient(i, x) for i in range(problem.n_workers)]
    return DecentralisedProblem(
        problem.graphs[0],
        GradientOracles(functions, n_features=objective.n_features, mu=objective.mu, smoothness=objective.smoothness),
    )


# --- the rule --------------------------------------------------------------------------------------------------------


def ode_matrix(c):
    matrix = np.zeros((6, 6))
    matrix[0, [0, 1]] = -c.eta, c.eta
    matrix[1, [0, 1]] = c.eta, -c.eta
    matrix[2, [2, 3]] = -c.alpha, c.alpha
    matrix[3, [1, 2, 4]] = -c.theta * c.nu, -c.theta, -c.theta
    matrix[4, [4, 5]] = -c.alpha, c.alpha
    matrix[5, [4, 5]] = c.alpha_tilde, -c.alpha_tilde
    return matrix


@settings(max_examples=60, deadline=None)
@given(st.floats(1, 1e5), st.floats(1e-3, 1e3), st.floats(1e-6, 200))
def test_flow_is_the_matrix_exponential_to_twelve_digits(condition, mu, dt):
    c = constants(mu, mu * condition, 1.0)
    with mpmath.workdps(50):  # in double precision the matrix exponential itself keeps fewer digits over long times
        expected = np.array(mpmath.expm(mpmath.matrix(ode_matrix(c).tolist()) * dt).tolist(), dtype=np.float64)
    # At a zero of the rotation's sine the matrix does not show the amplitude that the rounding of the phase is a part of.
    amplitude = max(np.abs(expected).max(), max(1, c.nu) * c.theta / c.frequency * np.exp(-c.alpha * dt / 2))
    assert np.abs(flow_matrix(dt, c) - expected).max() <= 1e-12 * amplitude


def test_state_at_the_optimum_stays_there_through_flow_gradients_and_communications():
    problem = random_quadratic(star(4), condition_number=20.0, random_state=0)
    objective, x = problem.objective, problem.objective.optimum()
    c = constants(objective.mu, objective.smoothness, 1.0)
    gradients = objective.gradients(np.tile(x, (4, 1)))
    states = np.stack([[x, x, g - c.nu * x, g - c.nu * x, -g, -g] for g in gradients])
    moved = np.einsum("ab,nbd->nad", flow_matrix(2.7, c), states)
    gradient_jump(moved[1], objective.gradient(1, moved[1, 0]), c)
    sent, received = message(moved[0]), message(moved[2])
    communication_jump(moved[0], sent, received, c)
    communication_jump(moved[2], received, sent, c)
    assert np.allclose(moved, states, atol=1e-11)


def test_jumps_use_the_values_from_before_them():
    c = constants(1.0, 4.0, 0.7)
    state = np.arange(12.0).reshape(6, 2)
    before = state.copy()
    gradient_jump(state, np.array([3.0, -1.0]), c)
    step = np.array([3.0, -1.0]) - 0.5 * before[0] - before[3]
    assert np.allclose(state[0], before[0] - step / 16)
    assert np.allclose(state[1], before[1] - step / (4 * np.sqrt(2)))
    assert np.allclose(state[3], before[3] + (1 + np.sqrt(1 / 8) / 4) * step)
    before = state.copy()
    communication_jump(state, np.array([1.0, 2.0]), np.array([0.0, 5.0]), c)
    assert np.allclose(state[4], before[4] - 0.5 * np.array([1.0, -3.0]))
    assert np.allclose(state[5], before[5] - 2 * 0.7 * np.sqrt(8) * np.array([1.0, -3.0]))


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_are_poisson_with_the_rates_asked_for():
    schedule = rates_of(random_quadratic(barbell(3), random_state=0), "optimal")
    events = schedule.events(0, 0, 4000.0, 0)
    per_worker = np.bincount(events.first[events.second < 0], minlength=6) / 4000
    assert np.abs(per_worker - 1).max() < 5 / np.sqrt(4000)
    rates = schedule.rates[0]
    for (i, j), rate in zip(rates.edges, rates.rates):
        count = ((events.first == i) & (events.second == j)).sum()
        assert abs(count - 4000 * rate) < 5 * np.sqrt(4000 * rate)
    waits = np.diff(events.times)
    assert np.all(waits >= 0) and waits.std() / waits.mean() == pytest.approx(1, abs=0.03)


def test_events_of_cycled_networks_fire_only_the_edges_in_force():
    networks = [path(4), star(4)]
    problem = DecentralisedProblem(networks, random_quadratic(path(4), random_state=0).objective, period=2.0)
    schedule = rates_of(problem)
    events = schedule.events(1, 3, 10.0, 0)
    for k, rates in enumerate(schedule.rates):
        in_force = (events.times / 2.0).astype(int) % 2 == k
        fired = {tuple(edge) for edge in np.stack([events.first, events.second], 1)[in_force & (events.second >= 0)]}
        assert fired == {tuple(edge) for edge in rates.edges}


def test_events_of_one_level_touch_different_workers_and_keep_each_workers_order():
    events = rates_of(random_quadratic(complete(12), random_state=0)).events(0, 0, 20.0, 0)
    level, _ = levels(events.times, events.first, events.second, np.zeros(12))
    for k in range(level.max() + 1):
        nodes = np.concatenate([events.first[level == k], events.second[(level == k) & (events.second >= 0)]])
        assert len(np.unique(nodes)) == len(nodes)
    for worker in range(12):
        own = (events.first == worker) | (events.second == worker)
        assert np.all(np.diff(level[own]) > 0)


# --- carriers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [random_quadratic, random_least_squares, random_logistic])
def test_batches_and_events_and_gradient_functions_give_the_same_run(make):
    problem = make(barbell(4), n_features=3, random_state=0)
    settings_ = {"random_state": 3, "t_max": 25.0, "tol": 1e-30}
    start = np.random.default_rng(0).standard_normal((8, 3))
    one = DADAO(**settings_).minimize(problem, start)
    two = DADAO(carrier="batches", device="cpu", **settings_).minimize(problem, start)
    three = DADAO(**settings_).minimize(as_oracles(problem), start)
    assert np.allclose(one.state, two.state, rtol=1e-9, atol=1e-9)
    assert np.allclose(one.state, three.state, rtol=1e-9, atol=1e-9)
    assert one.n_communications == two.n_communications == three.n_communications > 0


def test_batches_and_events_draw_the_same_minibatches_and_averages():
    problem = random_least_squares(cycle(5), n_samples=20, random_state=0)
    runs = [
        DADAO(batch_size=4, carrier=carrier, device="cpu", t_max=20.0, random_state=1).minimize(problem)
        for carrier in ("events", "batches")
    ]
    assert np.allclose(runs[0].state, runs[1].state, rtol=1e-9, atol=1e-9)
    assert np.allclose(runs[0].averages, runs[1].averages, rtol=1e-9, atol=1e-9)


def test_consensus_variables_sum_to_zero_throughout():
    problem = random_least_squares(star(6), random_state=0)
    result = DADAO(t_max=200.0, tol=1e-30, random_state=0).minimize(problem)
    assert np.abs(result.state[:, 4:].sum(axis=0)).max() < 1e-10 * np.abs(result.state[:, 4:]).max()


def test_events_carrier_plays_more_than_twenty_thousand_events_a_second():
    problem = random_least_squares(star(300), random_state=0)
    schedule = rates_of(problem)
    c = constants(problem.objective.mu, problem.objective.smoothness, schedule.chi_1)
    carrier = EventCarrier(problem, np.zeros((300, 6, 2)), 0.0, c)
    carrier.advance(schedule.events(0, 0, 1.0, 0), 1.0)  # compiles
    events = schedule.events(0, 1, 100.0, 0)
    began = time.process_time()
    carrier.advance(events, 200.0)
    assert len(events.times) / (time.process_time() - began) > 20_000


# --- quality ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", ["uniform", "optimal", "spectral"])
def test_every_worker_reaches_the_common_minimiser(rates):
    problem = random_least_squares(barbell(3), random_state=1)
    result = DADAO(rates=rates, tol=1e-12, random_state=0).minimize(problem)
    assert result.success
    pooled = np.linalg.lstsq(problem.objective.arrays.features, problem.objective.arrays.targets)[0]
    assert np.abs(result.iterates - pooled).max() < 1e-5 * np.abs(pooled).max()


def test_logistic_regression_agrees_with_scipy():
    problem = random_logistic(cycle(4), n_samples=30, ridge=0.3, random_state=0)
    features, targets = problem.objective.arrays.features, problem.objective.arrays.targets
    expected = scipy_minimize(
        lambda x: np.logaddexp(0, -targets * (features @ x)).mean() + 0.15 * x @ x, np.zeros(2), tol=1e-12
    ).x
    result = DADAO(tol=1e-14, random_state=0).minimize(problem)
    assert np.allclose(problem.objective.optimum(), expected, atol=1e-6)
    assert np.allclose(result.iterates, expected, atol=1e-5)


def test_the_error_decays_at_least_as_fast_as_the_theorem_says():
    for seed in range(3):
        problem = random_quadratic(cycle(6), condition_number=30.0, random_state=seed)
        estimator = DADAO(tol=1e-13, random_state=seed)
        result = estimator.minimize(problem)
        assert result.history.slope() < -np.sqrt(1 / 30) / (8 * np.sqrt(2))
        assert 1 / 3 < result.nit / estimator.n_events_predicted_ < 1


def test_dadao_sends_fewer_messages_than_the_primal_accelerated_method_in_rounds():
    problem = random_least_squares(complete(12), random_state=0)
    start = np.random.default_rng(0).standard_normal((12, 2))
    ours = DADAO(random_state=0).minimize(problem, start)
    theirs = adom_plus(problem, start)
    assert ours.success and theirs.success
    assert ours.n_communications < theirs.n_communications / 3


@pytest.mark.parametrize(
    "method",
    [
        lambda p: adom_plus(p, n_steps=6000),
        lambda p: adom_plus(p, multi_consensus=True),
        lambda p: msda(p),
        lambda p: continuized(p, random_state=0),
        lambda p: gradient_tracking(p, step_size=0.1 / p.objective.smoothness),
        lambda p: extra(p),
        lambda p: nids(p),
    ],
)
@pytest.mark.parametrize("graph", [star(5), complete(4), path(4)])
def test_each_baseline_reaches_the_common_minimiser(method, graph):
    problem = random_least_squares(graph, n_samples=50, random_state=2)
    result = method(problem)
    assert result.success
    assert np.allclose(result.iterates, problem.objective.optimum(), rtol=1e-3, atol=1e-3 * np.abs(result.x).max())


def test_networks_that_change_with_time_are_followed():
    networks = [random_geometric(8, 0.4, random_state=k) for k in range(5)]
    problem = random_least_squares(networks, random_state=0)
    for factor in (1.0, 2.0):
        assert DADAO(rate_factor=factor, random_state=0).minimize(problem).success
    assert adom_plus(problem, n_steps=20_000, tol=1e-4).success


def test_stochastic_gradients_stop_at_a_floor_that_falls_with_the_batch():
    problem = random_least_squares(complete(5), n_samples=200, random_state=0)
    start = problem.objective.optimum() + 1.0
    floors = []
    for batch_size in (1, 25):
        history = DADAO(batch_size=batch_size, t_max=400.0, tol=1e-30, random_state=0).minimize(problem, start).history
        floors.append(history.gap[200:].mean())
    # The variance of the gradient falls as one over the batch.
    assert 8 < floors[0] / floors[1] < 80


def test_minibatch_gradients_are_unbiased():
    objective = random_logistic(path(2), n_samples=40, random_state=0).objective
    x = np.array([0.3, -0.2])
    draws = (np.arange(40) + 0.5) / 40  # every row once
    assert np.allclose(local_gradient(1, x, draws, objective.arrays), objective.gradient(1, x), atol=1e-12)


def test_the_bound_of_unknown_minimisers_holds_and_is_reached():
    problem = random_quadratic(path(3), condition_number=5.0, random_state=0)
    bounded = DADAO(t_max=40.0, tol=1e-30, random_state=0).minimize(as_oracles(problem)).history
    exact = DADAO(t_max=40.0, tol=1e-30, random_state=0).minimize(problem).history
    assert np.all(bounded.gap >= exact.gap * (1 - 1e-9))
    assert np.all(bounded.gap <= 25 * exact.gap)  # at most kappa squared too large


# --- rates and divergence --------------------------------------------------------------------------------------------


def test_too_low_rates_are_warned_about_with_the_missing_factor_and_divergence_is_detected():
    problem = random_quadratic(star(8), condition_number=100.0, random_state=0)
    with (
        pytest.warns(RatesTooLow, match="multiplied by at least 2"),
        pytest.warns(ConvergenceWarning, match="rates are too low"),
    ):
        result = DADAO(rate_factor=0.5, random_state=0).minimize(problem)
    assert result.status == 2 and not result.success
    assert np.isfinite(result.history.gap).all()


def test_an_underestimated_smoothness_diverges_and_the_message_says_so():
    problem = random_quadratic(cycle(5), condition_number=100.0, random_state=0)
    with pytest.warns(ConvergenceWarning, match="smoothness may be too small"):
        result = DADAO(smoothness=5.0, random_state=0).minimize(problem)
    assert result.status == 2


def test_weights_of_the_graph_are_rates_as_they_stand():
    weights = np.zeros((3, 3))
    weights[0, 1] = weights[1, 0] = 4.0
    weights[1, 2] = weights[2, 1] = 2.5
    problem = DecentralisedProblem(weights, random_quadratic(path(3), random_state=0).objective)
    schedule = rates_of(problem, "weights", 2.0)
    assert schedule.rates[0].rates.tolist() == [8.0, 5.0]


# --- repeat, go on, store --------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_run_and_another_does_not():
    problem = random_least_squares(path(3), random_state=0)
    runs = [DADAO(t_max=10.0, random_state=seed).minimize(problem).iterates for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path):
    problem = random_least_squares(cycle(4), random_state=0)
    whole = DADAO(t_max=30.0, tol=1e-30, random_state=0).minimize(problem)
    DADAO(t_max=12.0, tol=1e-30, random_state=0).minimize(problem, checkpoint_dir=tmp_path)
    rest = DADAO(t_max=30.0, tol=1e-30, random_state=0).minimize(problem, checkpoint_dir=tmp_path, resume=True)
    assert np.array_equal(whole.state, rest.state)
    assert np.array_equal(whole.history.table, rest.history.table)


def test_ctrl_c_leaves_the_state_from_which_the_run_goes_on(tmp_path):
    problem = random_quadratic(cycle(4), n_features=2, random_state=0)
    objective, calls = problem.objective, []

    def interrupting(worker):
        def gradient(x):
            calls.append(worker)
            if len(calls) == 50:
                os.kill(os.getpid(), signal.SIGINT)
            return objective.gradient(worker, x)

        return gradient

    oracles = GradientOracles(
        [interrupting(i) for i in range(4)], n_features=2, mu=1.0, smoothness=10.0, optimum=objective.optimum()
    )
    estimator = DADAO(t_max=30.0, tol=1e-30, random_state=0)
    with pytest.raises(KeyboardInterrupt, match="dadao: stopped at time"):
        estimator.minimize(DecentralisedProblem(cycle(4), oracles), checkpoint_dir=tmp_path)
    assert 50 <= len(calls) < 70
    rest = estimator.minimize(DecentralisedProblem(cycle(4), oracles), checkpoint_dir=tmp_path, resume=True)
    whole = DADAO(t_max=30.0, tol=1e-30, random_state=0).minimize(problem)
    assert np.allclose(rest.history.table, whole.history.table, rtol=1e-9)


def test_a_run_goes_on_from_the_states_of_an_earlier_one():
    problem = random_least_squares(cycle(4), random_state=0)
    first = DADAO(t_max=60.0, tol=1e-30, random_state=0).minimize(problem)
    second = DADAO(t_max=5.0, tol=1e-30, random_state=1).minimize(problem, first.state)
    assert second.gap < 2 * first.gap


def test_saved_results_come_back(tmp_path):
    problem = random_least_squares(cycle(4), random_state=0)
    estimator = DADAO(random_state=0)
    estimator.minimize(problem)
    again = DADAO.from_pretrained(estimator.save_pretrained(tmp_path / "model"))
    for name in ("x_", "iterates_", "state_", "rates_", "edges_", "history_"):
        assert np.array_equal(getattr(again, name), getattr(estimator, name))
    assert again.get_params() == estimator.get_params()
    assert again.history.reached(1e-8) == len(again.history.time) - 1
    clone(again)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"t_max": 0.0}, "t_max must be > 0"),
        ({"tol": 2.0}, "tol must be > 0 and < 1"),
        ({"mu": -1.0}, "mu must be > 0"),
        ({"mu": 50.0, "smoothness": 10.0}, "smoothness must be >= 50"),
        ({"rate_factor": 0.0}, "rate_factor must be > 0"),
        ({"rates": "best"}, "rates must be one of"),
        ({"carrier": "pigeons"}, "carrier must be one of"),
        ({"device": "abacus"}, "device must name a device"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"record_every": 0.0}, "record_every must be > 0"),
        ({"carrier": "processes"}, "torchrun --nproc-per-node 3"),
    ],
)
def test_bad_arguments_are_named(arguments, words, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    problem = random_least_squares(path(3), random_state=0)
    with pytest.raises((ValueError, TypeError), match=words):
        DADAO().set_params(**arguments).minimize(problem)


def test_bad_problems_are_named():
    objective = random_quadratic(path(3), random_state=0).objective
    with pytest.raises(ValueError, match="graph must be connected"):
        DecentralisedProblem(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]), objective)
    with pytest.raises(ValueError, match=r"graph\[1\] must be connected"):
        DecentralisedProblem([path(3), np.zeros((3, 3))], objective)
    with pytest.raises(ValueError, match="graph has 4 nodes, but objective has 3 workers"):
        DecentralisedProblem(path(4), objective)
    with pytest.raises(TypeError, match="objective"):
        DecentralisedProblem(path(3), np.zeros(3))
    with pytest.raises(TypeError, match="problem"):
        DADAO().minimize(objective)
    problem = DecentralisedProblem(path(3), objective)
    with pytest.raises(ValueError, match="x0 must have shape"):
        DADAO().minimize(problem, np.zeros(4))
    with pytest.raises(ValueError, match="x0 holds NaN"):
        DADAO().minimize(problem, np.full((3, 5), np.nan))
    with pytest.raises(ValueError, match="x0 must have z and z̃ that sum to zero"):
        DADAO().minimize(problem, np.ones((3, 6, 5)))
    with pytest.raises(ValueError, match="batch_size needs an objective with rows"):
        DADAO(batch_size=2).minimize(problem)
    with pytest.raises(ValueError, match="resume needs checkpoint_dir"):
        DADAO().minimize(problem, resume=True)


def test_functions_without_strong_convexity_are_refused_and_the_worker_is_named():
    generator = np.random.default_rng(0)
    features, targets = generator.standard_normal((3, 8, 2)), np.ones((3, 8))
    features[1, :, 1] = 2 * features[1, :, 0]
    with pytest.raises(ValueError, match="features of worker 1 do not make a strongly convex"):
        LeastSquares(features, targets)
    assert LeastSquares(features, targets, ridge=0.1).mu == pytest.approx(0.1)
    with pytest.raises(ValueError, match="hessians of worker 2"):
        Quadratic(np.stack([np.eye(2), np.eye(2), np.diag([1.0, 0.0])]), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="features of worker 0"):
        LeastSquares([np.ones((1, 2))], [np.ones(1)])
    with pytest.raises(ValueError, match="targets must be labels -1 and 1"):
        Logistic(features, np.zeros((3, 8)))
    with pytest.raises(ValueError, match=r"features\[0\] holds NaN"):
        LeastSquares(np.full((2, 3, 1), np.nan), np.ones((2, 3)))
    with pytest.raises(ValueError, match="ridge must be > 0"):
        Logistic(features, targets, ridge=0.0)


def test_gradient_functions_of_wrong_shape_or_with_nan_are_refused_and_named():
    def problem(function):
        return DecentralisedProblem(
            path(2), GradientOracles([lambda x: x, function], n_features=2, mu=1.0, smoothness=2.0)
        )

    with pytest.raises(ValueError, match=r"gradients\[1\] must give an array of shape \(2,\), got shape \(3,\)"):
        DADAO(random_state=0).minimize(problem(lambda x: np.zeros(3)))
    with pytest.raises(ValueError, match=r"gradients\[1\] gave NaN"):
        DADAO(random_state=0).minimize(problem(lambda x: x * np.nan))
    with pytest.raises(TypeError, match="gradients"):
        GradientOracles([3], n_features=2, mu=1.0, smoothness=2.0)
    with pytest.raises(ValueError, match="smoothness must be >= 3"):
        GradientOracles([np.copy], n_features=2, mu=3.0, smoothness=2.0)


# --- one process a worker --------------------------------------------------------------------------------------------

WORKER = """
import os, sys, time
import networkx as nx
import numpy as np
from semigroup.data.decentralised import DecentralisedProblem, GradientOracles, random_quadratic
from semigroup.operators.topology import cycle
from semigroup.optimize import DADAO

folder, sleep, t_max, rank = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(os.environ["RANK"])
objective = random_quadratic(cycle(3), n_features=2, random_state=0).objective

def gradient(worker):
    def compute(x):
        assert worker == rank, "only the own data are here"
        time.sleep(sleep)
        return objective.gradient(worker, x)
    return compute

oracles = GradientOracles([gradient(i) for i in range(3)], n_features=2, mu=1.0, smoothness=10.0)
problem = DecentralisedProblem(
    nx.relabel_nodes(nx.cycle_graph(3), dict(enumerate(["amber", "birch", "cedar"]))), oracles
)
with open(os.path.join(folder, f"pid-{rank}"), "w") as file:
    file.write(str(os.getpid()))
estimator = DADAO(carrier="processes", random_state=7, t_max=t_max, tol=1e-30, timeout=30.0)
result = estimator.minimize(problem, checkpoint_dir=os.path.join(folder, "state"), resume=True)
if rank == 1:
    np.savez(os.path.join(folder, "result.npz"), state=result.state, history=result.history.table)
estimator.set_params(rate_factor=0.2, t_max=1e5).minimize(problem)
"""


def start_workers(tmp_path, sleep, t_max):
    """Three workers under torchrun."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    return subprocess.Popen(
        [*launcher, str(script), str(tmp_path), str(sleep), str(t_max)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_worker_is_named_and_the_others_leave_a_state_to_go_on_from_with_it_or_without_it(tmp_path):
    problem = random_quadratic(cycle(3), n_features=2, random_state=0)
    state = tmp_path / "state"
    launcher = start_workers(tmp_path, 0.01, 1000.0)
    try:
        limit = time.monotonic() + 120
        while len(list(state.glob("worker-?.until-00000010.npz"))) < 3:
            assert time.monotonic() < limit and launcher.poll() is None
            time.sleep(0.02)
        os.kill(int((tmp_path / "pid-2").read_text()), signal.SIGKILL)
        _, errors = launcher.communicate(timeout=60)
    finally:
        launcher.terminate()
    assert launcher.returncode != 0
    # torchrun, too, stops the others: both have to say whom they missed before they go
    for survivor in ("0 ('amber')", "1 ('birch')"):
        assert "worker 2 ('cedar') no longer answers: it died, or its machine cannot be reached" in errors
        assert f"Worker {survivor} stopped at time" in errors
    assert "without([2])" in errors

    interval, states, numbers = last_snapshot(state)
    assert interval >= 10 and numbers == [0, 1, 2]
    until_then = DADAO(random_state=7, t_max=float(interval), tol=1e-30).minimize(problem)
    assert np.allclose(states, until_then.state, rtol=1e-9, atol=1e-9)

    rest = problem.without([2])
    without = DADAO(random_state=0).minimize(rest, states[:2, 0])
    assert without.success and np.allclose(without.x, rest.objective.optimum(), atol=1e-3)

    # with it: the run goes on as if it had never stopped; the script then lets another one diverge
    launcher = start_workers(tmp_path, 0.0, interval + 15.0)
    _, errors = launcher.communicate(timeout=120)
    whole = DADAO(random_state=7, t_max=interval + 15.0, tol=1e-30).minimize(as_oracles(problem))
    with np.load(tmp_path / "result.npz") as result:
        assert np.allclose(result["state"], whole.state, rtol=1e-9, atol=1e-9)
        assert np.allclose(result["history"], whole.history.table, rtol=1e-7)
    assert "diverged to a squared norm of" in errors and "the rates are too low: multiply them by at least 5" in errors


def test_a_network_that_falls_apart_without_the_worker_is_refused():
    with pytest.raises(ValueError, match="graph must be connected, and it falls into 3 components"):
        random_quadratic(star(4), random_state=0).without([0])


# --- on files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """A network of three named sites, and a table whose rows belong to them."""
    (tmp_path / "net.csv").write_text("source,target\nrome,oslo\noslo,bern\n")
    generator = np.random.default_rng(0)
    rows = ["worker,height,weight,price"]
    for site in ("rome", "oslo", "bern"):
        for a, b in generator.normal([170.0, 70.0], [10.0, 8.0], (12, 2)):
            rows.append(f"{site},{a},{b},{2 * a - b + generator.normal()}")
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    return tmp_path / "net.csv", tmp_path / "rows.csv"


def test_a_run_on_files_gives_every_site_the_pooled_regression_under_its_own_name(files):
    from semigroup.jobs import Context
    from semigroup.jobs.dadao import perform, read

    task = read(files)
    outcome = perform(DADAO(random_state=0, tol=1e-10), task, Context())
    import pandas as pd
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import StandardScaler

    table = pd.read_csv(files[1])
    pooled = LinearRegression().fit(StandardScaler().fit_transform(table[["height", "weight"]]), table["price"])
    workers = outcome.tables["workers"]
    assert set(workers.worker) == {"rome", "oslo", "bern"}
    assert np.allclose(workers[["height", "weight"]], pooled.coef_, atol=1e-2)
    assert np.allclose(workers["intercept"], pooled.intercept_, rtol=1e-4)
    edges = outcome.tables["edges"]
    assert set(edges.source) | set(edges.target) == {"rome", "oslo", "bern"}
    assert np.isfinite(list(outcome.metrics.values())).all()


def test_files_that_cannot_be_used_are_named(files, tmp_path):
    from semigroup.jobs.dadao import read

    graph, rows = files
    bad = tmp_path / "bad.csv"
    bad.write_text("worker,a,y\nparis,1,2\nrome,2,3\noslo,1,2\n")
    with pytest.raises(ValueError, match=r"bad\.csv: column worker holds 'paris'"):
        read([graph, bad])
    bad.write_text("a,y\n1,2\n2,3\n")
    with pytest.raises(ValueError, match=r"bad\.csv: has 2 rows for 3 workers"):
        read([graph, bad])
    bad.write_text("a,y\n1,2\n2,\n3,4\n")
    with pytest.raises(ValueError, match=r"bad\.csv: holds missing"):
        read([graph, bad])
    bad.write_text("source,target\na,b\nc,d\n")
    with pytest.raises(ValueError, match=r"bad\.csv must be connected"):
        read([bad])
    with pytest.raises(ValueError, match="at most one table"):
        read([graph, rows, rows])


def test_two_classes_make_a_logistic_regression(files, tmp_path):
    from semigroup.jobs.dadao import read

    table = tmp_path / "classes.csv"
    table.write_text("a,kind\n" + "\n".join(f"{k},{k % 2}" for k in range(9)))
    assert isinstance(read([files[0], table]).problem.objective, Logistic)


def test_a_constant_column_is_left_out_though_its_deviation_is_a_rounding_error(files, tmp_path):
    from semigroup.jobs.dadao import read

    table = tmp_path / "constant.csv"
    table.write_text("a,b,y\n" + "\n".join(f"0.1,{k},{k * k}" for k in range(1000)))
    assert read([files[0], table]).columns == ["b", "intercept"]


def test_the_state_of_another_problem_is_not_taken_up(tmp_path):
    DADAO(t_max=2.0, random_state=0).minimize(random_least_squares(path(3), random_state=0), checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint_dir .* holds a state of shape"):
        DADAO(t_max=2.0, random_state=0).minimize(
            random_least_squares(path(4), random_state=0), checkpoint_dir=tmp_path, resume=True
        )
