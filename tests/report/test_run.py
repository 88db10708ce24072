"""Runs of a method on a file: seeds, checkpoints, and what is left behind."""

import json
from types import SimpleNamespace

import pytest

from semigroup.base import Estimator
from semigroup.catalog import method
from semigroup.jobs import Outcome
from semigroup.report.run import perform_run, write_run


class Drawn(Estimator):
    """Has a seed and nothing else."""

    def __init__(self, *, random_state=None):
        self.random_state = random_state


@pytest.fixture
def job(monkeypatch):
    """A job that draws rows to hold out and can be stopped; the seeds it saw are its `seen`."""
    job = SimpleNamespace(seen=[], stop_with=None, checkpoint=True)

    def perform(estimator, data, context):
        job.seen.append(estimator.random_state)
        if job.stop_with is not None:
            if job.checkpoint:
                (context.checkpoint_dir / "fit").mkdir(parents=True)
            raise job.stop_with
        return Outcome(model=estimator, summary="done", metrics={})

    job.read, job.perform = lambda files: None, perform
    row = method("powerwalk")
    monkeypatch.setattr(type(row), "job_module", lambda self: job)
    return job


def go(out, *, resume=False, random_state=None):
    return perform_run(
        method("powerwalk"), Drawn(random_state=random_state), [], out, command="", resume=resume, overwrite=True
    )


def test_a_run_without_a_seed_goes_on_with_the_one_it_drew(job, tmp_path):
    job.stop_with = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run")
    job.stop_with = None
    go(tmp_path / "run", resume=True)
    assert isinstance(job.seen[0], int) and job.seen[1] == job.seen[0]
    asked = json.loads((tmp_path / "run" / "metrics.json").read_text())["parameters"]
    assert asked == {"random_state": None}
    assert not (tmp_path / "run.checkpoint").exists()
    go(tmp_path / "run", resume=True)
    go(tmp_path / "run")
    assert len(set(job.seen)) == 3


def test_a_seed_of_the_user_is_what_a_run_has(job, tmp_path):
    go(tmp_path / "run", random_state=7)
    assert job.seen == [7]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["parameters"] == {"random_state": 7}


def test_a_run_refused_before_its_first_checkpoint_leaves_nothing(job, tmp_path):
    job.stop_with, job.checkpoint = ValueError("n_steps must be >= 1"), False
    with pytest.raises(ValueError, match="n_steps"):
        go(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_could_not_be_measured_is_a_gap_and_null(tmp_path):
    outcome = Outcome(model=Drawn(), summary="", metrics={"gap": float("nan"), "time": 2.5})
    section = write_run(method("powerwalk"), outcome, tmp_path / "run", command="", files=[], seconds=0.0)
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert section.metrics == stored["metrics"] == {"gap": None, "time": 2.5}
