"""The training loop: stop, resume, diverge, share."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from semigroup.training import CHECKPOINT, EpochSampler, TrainingDiverged, state_for_all, train, warmup_then_linear
from small_training import N_STEPS, run

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return run(tmp_path_factory.mktemp("whole"))[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def start(folder: Path, checkpoint_every: int) -> subprocess.Popen[str]:
    """The small run in a process of its own, slow enough to be stopped."""
    command = [sys.executable, str(HERE / "small_training.py"), str(folder), str(checkpoint_every), "0.02"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path, uninterrupted):
    assert same(run(tmp_path)[0], uninterrupted)


def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_ends_bit_for_bit_the_same(tmp_path, uninterrupted):
    process = start(tmp_path, checkpoint_every=10**6)
    assert process.stdout is not None
    assert process.stdout.readline() == "in the loop\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt: small: stopped at step" in errors
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert 0 < state["step"] < N_STEPS and len(state["losses"]) == state["step"]
    assert same(run(tmp_path, resume=True)[0], uninterrupted)


def test_a_killed_run_resumes_from_its_last_checkpoint_to_the_same_weights_bit_for_bit(tmp_path, uninterrupted):
    process = start(tmp_path, checkpoint_every=20)
    deadline = time.monotonic() + 60
    while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    step = torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"]
    assert 0 < step < N_STEPS and not (tmp_path / "weights.pt").exists()
    assert same(run(tmp_path, resume=True)[0], uninterrupted)


def test_resuming_a_finished_run_changes_nothing(tmp_path, uninterrupted):
    run(tmp_path)
    weights, result = run(tmp_path, resume=True)
    assert same(weights, uninterrupted) and result.n_steps == N_STEPS


def test_resume_without_a_checkpoint_starts_from_the_beginning(tmp_path, uninterrupted):
    assert same(run(tmp_path, resume=True)[0], uninterrupted)


def test_the_averaged_weights_are_an_exponential_mean_of_the_iterates():
    network = nn.Linear(1, 1, bias=False)
    iterates = []

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> torch.Tensor:
        iterates.append(network.weight.item())
        return (model(torch.ones(1, 1)) - 1).square().mean()

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    result = train(network, loss, n_steps=20, optimizer=optimizer, ema_decay=0.8, device="cpu")
    iterates.append(network.weight.item())
    expected = iterates[1]
    for value in iterates[2:]:
        expected = 0.8 * expected + 0.2 * value
    assert result.averaged is not None
    assert result.averaged.weight.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bad_step", [3, 49, 50, 77])
def test_divergence_names_the_step_and_the_value_and_keeps_the_last_good_checkpoint(tmp_path, bad_step):
    with pytest.raises(TrainingDiverged, match=rf"the loss is nan at step {bad_step}") as raised:
        run(tmp_path, bad_step=bad_step, checkpoint_every=25)
    kept = tmp_path / CHECKPOINT
    assert kept.exists() == (bad_step >= 25) == (str(kept) in str(raised.value))
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        assert state["step"] <= bad_step
        assert all(torch.isfinite(value).all() for value in state["network"].values())


def test_a_finite_loss_with_a_bad_gradient_never_replaces_a_good_checkpoint(tmp_path):
    network = nn.Linear(1, 1)

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> torch.Tensor:
        output = model(torch.ones(1, 1)).square().mean()
        # the square root's slope at 0 is infinite, its value is not
        return output if step < 19 else (output - output.detach()).sqrt() + output.detach()

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(TrainingDiverged, match="weights are NaN or infinite after step 19"):
        train(
            network, loss, n_steps=20, optimizer=optimizer, device="cpu", checkpoint_dir=tmp_path, checkpoint_every=10
        )
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["step"] == 10 and torch.isfinite(state["network"]["weight"]).all()


def test_the_best_evaluation_is_what_remains_and_patience_stops_the_run(tmp_path):
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> torch.Tensor:
        return -model(torch.ones(1, 1)).mean()  # the weight grows by 1 a step

    result = train(
        network,
        loss,
        n_steps=100,
        optimizer=optimizer,
        evaluate=lambda model: abs(model.weight.item() - 30),
        evaluate_every=10,
        patience=2,
        device="cpu",
        checkpoint_dir=tmp_path,
    )
    assert network.weight.item() == 30 and result.n_steps == 50
    # The checkpoint is the end of the run, not its best moment: from there it can go on.
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["network"]["weight"].item() == 50
    assert [step for step, _ in result.evaluations] == [10, 20, 30, 40, 50]


def test_each_named_value_keeps_its_best_weights_also_across_a_stop(tmp_path):
    def run(folder, n_steps: int, resume: bool):
        network = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(network.weight)
        result = train(
            network,
            lambda model, step, generator: -model(torch.ones(1, 1)).mean(),  # the weight grows by 1 a step
            n_steps=n_steps,
            optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
            evaluate=lambda model: {"far": abs(model.weight.item() - 31), "near": abs(model.weight.item() - 10)},
            evaluate_every=10,
            patience=2,
            device="cpu",
            checkpoint_dir=folder,
            resume=resume,
        )
        return network.weight.item(), {name: weights["weight"].item() for name, weights in result.best.items()}, result

    weight, best, result = run(tmp_path / "through", 100, False)
    assert weight == 30 and best == {"far": 30, "near": 10}
    assert result.n_steps == 50 and result.evaluations[0] == (10, {"far": 21, "near": 0})
    run(tmp_path / "stopped", 20, False)
    assert run(tmp_path / "stopped", 100, True)[:2] == (weight, best)


@pytest.mark.parametrize(("later", "kept", "n_steps"), [(False, 1, 3), (True, 5, 5)])
def test_of_equal_evaluations_the_earlier_or_the_later_counts(later, kept, n_steps):
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    result = train(
        network,
        lambda model, step, generator: -model(torch.ones(1, 1)).mean(),
        n_steps=5,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        evaluate=lambda model: 1.0,
        evaluate_every=1,
        patience=2,
        later_of_equals=later,
        device="cpu",
    )
    assert network.weight.item() == kept and result.n_steps == n_steps


@pytest.mark.parametrize(("n", "sizes"), [(9, [4, 5]), (10, [4, 4, 2]), (8, [4, 4]), (1, [1]), (5, [5])])
def test_a_last_batch_that_is_too_small_is_joined_to_the_one_before(n, sizes):
    batches = EpochSampler(n, 4, seed=1, smallest_batch=2)
    found = [batches(step) for step in range(batches.batches_per_epoch)]
    assert [len(batch) for batch in found] == sizes
    assert sorted(torch.cat(found).tolist()) == list(range(n))


def test_every_epoch_holds_each_example_once_in_an_order_of_its_own():
    batches = EpochSampler(10, 4, seed=1)
    epochs = [torch.cat([batches(3 * epoch + i) for i in range(3)]).tolist() for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2 and epochs[0] != epochs[1]


def test_the_order_of_an_epoch_does_not_depend_on_where_the_run_was_resumed():
    through, fresh = EpochSampler(10, 4, seed=1), EpochSampler(10, 4, seed=1)
    steps = [through(step) for step in range(8)]
    assert torch.equal(fresh(7), steps[7])


def test_warmup_rises_to_one_and_falls_to_zero():
    factor = warmup_then_linear(4, 10)
    assert [factor(step) for step in (0, 3, 4, 7, 10)] == [0.25, 1.0, 1.0, 0.5, 0.0]


def test_a_second_run_in_the_same_process_may_ask_for_another_precision(tmp_path):
    for precision in ("no", "bf16", "no"):
        network = nn.Linear(4, 4)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        seen = []

        def loss(model: nn.Module, step: int, generator: torch.Generator, seen: list = seen) -> torch.Tensor:
            with torch.no_grad():
                seen.append(torch.is_autocast_enabled("cpu"))
            return model(torch.ones(1, 4)).square().mean()

        train(network, loss, n_steps=2, optimizer=optimizer, device="cpu", mixed_precision=precision)


@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_an_unknown_device_is_refused_by_name(device):
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda' or None"):
        train(network, lambda *_: torch.ones(()), n_steps=1, optimizer=optimizer, device=device)


def test_two_processes_learn_what_one_learns_with_twice_the_batch_and_stop_together(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"PYTHONPATH": str(HERE), "CUDA_VISIBLE_DEVICES": ""}
    script = [str(HERE / "two_processes.py"), str(tmp_path)]
    done = subprocess.run(command + script, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone, result = run(tmp_path / "alone", batch_size=10, noise=0.0)
    assert same(first["weights"], second["weights"])
    assert same(first["resumed"], first["weights"])
    for name, value in alone.items():
        torch.testing.assert_close(first["weights"][name], value, rtol=0, atol=1e-5)
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(result.losses, abs=1e-5)
    # Only process 1 met the bad value; both report it.
    assert first["message"] == second["message"]
    assert "the loss is nan at step 49" in first["message"]
    # Without a seed both draw the same, see the same values and stop at the same step; a layer may be left out.
    assert first["state"] == second["state"]
    assert first["evaluations"] == second["evaluations"] and 2 <= len(first["evaluations"]) < 20
    assert same(first["partly"], second["partly"])


def test_decay_of_averaged_weights_may_depend_on_the_update():
    network = nn.Linear(1, 1, bias=False)
    seen, weights = [], []

    def decay(k: int) -> float:
        seen.append(k)
        return k / (k + 1)

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> torch.Tensor:
        weights.append(float(network.weight))
        return model(torch.ones(1, 1)).sum()

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    result = train(network, loss, n_steps=4, optimizer=optimizer, ema_decay=decay, device="cpu")
    # k / (k + 1) after a first copy makes the plain mean.
    after = [*weights[1:], float(network.weight)]
    assert seen == [1, 2, 3]
    assert result.averaged is not None
    assert abs(float(result.averaged.weight) - sum(after) / 4) < 1e-6


def test_a_training_without_a_seed_does_not_go_on():
    assert state_for_all(None) is None and state_for_all(3, resume=True) == 3
    with pytest.raises(ValueError, match="resume needs random_state"):
        state_for_all(None, resume=True)
