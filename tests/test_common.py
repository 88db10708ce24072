"""What holds for every method of the catalog."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from semigroup.catalog import METHODS, Method
from semigroup.cli import main
from tiny import TINY

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.slug)


@every_method
def test_constructor_only_stores_its_arguments(method: Method):
    estimator_class = method.load()
    parameters = inspect.signature(estimator_class).parameters
    assert parameters, "an estimator has hyper-parameters"
    for parameter in parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    # Objects that no method would accept, stored all the same: nothing is looked at before fit.
    estimator = estimator_class.__new__(estimator_class)
    values = {name: object() for name in parameters}
    raw_init = inspect.unwrap(estimator_class.__init__)
    raw_init(estimator, **values)
    assert all(getattr(estimator, name) is value for name, value in values.items())
    assert set(vars(estimator)) == set(values)


@every_method
def test_clone_has_the_same_parameters_and_no_fitted_state(method: Method):
    estimator = method.load()(**method.tour)
    copy = clone(estimator)
    assert copy is not estimator
    assert copy.get_params() == estimator.get_params()
    assert not [name for name in vars(copy) if name.endswith("_")]


@every_method
def test_every_constructor_argument_is_documented(method: Method):
    estimator_class = method.load()
    documented = inspect.getdoc(estimator_class) or ""
    missing = [name for name in inspect.signature(estimator_class).parameters if f"\n{name} : " not in documented]
    assert not missing, f"no documentation of {missing} in the class docstring"


@every_method
def test_help_of_run_shows_every_constructor_argument(method: Method, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", method.slug, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for name in inspect.signature(method.load()).parameters:
        assert f"--{name.replace('_', '-')}" in shown


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory) -> dict[str, list]:
    return {}


def tiny_run(method: Method, finished_runs: dict[str, list], tmp_path_factory):
    """Two runs of the same command, shared by the tests below."""
    if method.slug not in finished_runs:
        folders = []
        for _ in range(2):
            out = tmp_path_factory.mktemp(method.slug) / "run"
            options = [word for name, value in TINY[method.slug].items() for word in _option(name, value)]
            assert main(["run", method.slug, "--out", str(out), *options]) == 0
            folders.append(out)
        finished_runs[method.slug] = folders
    return finished_runs[method.slug]


def assert_same_files(one: Path, other: Path, but: tuple[str, ...] = ()) -> None:
    """The same files with the same bytes under two folders; at least one of them."""
    names = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (one, other)]
    assert names[0] == names[1]
    compared = [name for name in names[0] if name.name not in but]
    assert compared
    for name in compared:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def _option(name: str, value: object) -> list[str]:
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    if isinstance(value, list | tuple):
        return [f"--{dashed}", *map(str, value)]
    return [f"--{dashed}", str(value)]


@every_method
def test_run_leaves_the_promised_files_and_nothing_else(method: Method, finished_runs, tmp_path_factory):
    out, _ = tiny_run(method, finished_runs, tmp_path_factory)
    names = {path.name for path in out.iterdir()}
    assert {"model", "metrics.json", "report.html"} <= names
    assert any(name.endswith(".png") for name in names)
    assert any(name == "results.npz" or name.endswith(".csv") for name in names)
    promised = {"model", "metrics.json", "report.html", "results.npz"}
    assert {name for name in names - promised if not name.endswith((".png", ".csv"))} == set()
    assert (out / "model" / "config.json").is_file() and len(list((out / "model").iterdir())) > 1
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    content = json.loads((out / "metrics.json").read_text())
    assert content["method"] == method.slug
    assert content["metrics"], "a run reports at least one figure"
    assert all(value is None or np.isfinite(value) for value in content["metrics"].values())
    page = (out / "report.html").read_text()
    assert 'src="http' not in page and 'href="/' not in page, "the report opens from disk"


@every_method
def test_same_seed_gives_the_same_result(method: Method, finished_runs, tmp_path_factory):
    first, second = tiny_run(method, finished_runs, tmp_path_factory)
    archives = [np.load(folder / "results.npz") for folder in (first, second) if (folder / "results.npz").exists()]
    tables = [sorted(folder.glob("*.csv")) for folder in (first, second)]
    assert archives or tables[0]
    if archives:
        assert archives[0].files == archives[1].files
        for name in archives[0].files:
            if "second" not in name and "time_taken" not in name:
                np.testing.assert_array_equal(archives[0][name], archives[1][name], err_msg=name)
    for one, other in zip(*tables, strict=True):
        assert one.name == other.name
        assert one.read_text() == other.read_text()
    assert_same_files(first / "model", second / "model", but=("config.json",))  # which may tell times


@every_method
def test_saved_model_loads_with_the_same_parameters(method: Method, finished_runs, tmp_path_factory):
    out, _ = tiny_run(method, finished_runs, tmp_path_factory)
    assert not list((out / "model").rglob("*.pkl")) and not list((out / "model").rglob("*.joblib"))
    loaded = method.load().from_pretrained(out / "model")
    stored = json.loads((out / "metrics.json").read_text())["parameters"]
    assert json.loads(json.dumps(loaded.get_params(deep=False), default=str)) == stored
    again = loaded.save_pretrained(out.parent / "again")
    assert_same_files(out / "model", again)
    # What was fitted is there after loading, and is what a clone leaves behind.
    fitted = {name for name in vars(loaded) if name.endswith("_")}
    assert fitted
    assert not fitted & set(vars(clone(loaded)))


@every_method
def test_run_refuses_a_file_that_is_not_there_and_leaves_nothing(method: Method, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", method.slug, "--data", str(tmp_path / "absent.npz"), "--out", str(out)]) == 2
    assert "absent.npz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "spoiled",
    [np.full((6, 6), np.nan), np.full((6, 6), np.inf), np.empty((0, 6)), np.full(6, "word")],
    ids=["nan", "infinity", "empty", "words"],
)
@every_method
def test_run_refuses_a_file_of_bad_values_by_name_and_leaves_nothing(method: Method, spoiled, tmp_path, capsys):
    file = tmp_path / "bad.npy"
    np.save(file, spoiled)
    out = tmp_path / "run"
    assert main(["run", method.slug, "--data", str(file), "--out", str(out)]) == 2
    assert "bad.npy" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


@every_method
def test_run_does_not_overwrite_unless_told(method: Method, tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("keep me")
    assert main(["run", method.slug, "--out", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "precious.txt").read_text() == "keep me"


@every_method
def test_paper_can_be_cited(method: Method, capsys):
    assert main(["cite", method.slug]) == 0
    entry = capsys.readouterr().out
    assert method.paper.arxiv in entry and entry.count("{") == entry.count("}")


# --- a fit that does not end -------------------------------------------------------------------------------------


def stopped(*arguments, **options):
    raise KeyboardInterrupt


def refit_koopman(monkeypatch):
    from semigroup.dynamics import ResidualDMD

    walk = np.random.default_rng(0).normal(size=(2, 30, 2))
    model = ResidualDMD(dictionary="linear").fit(walk[0])
    return model, lambda: model.fit(walk[1], weights=-np.ones(29))


def refit_heat_geodesic(monkeypatch):
    from semigroup.manifolds import HeatGeodesic

    cloud = np.random.default_rng(0).normal(size=(40, 3))
    model = HeatGeodesic(n_neighbors=5).fit(cloud)
    return model, lambda: model.fit(np.concatenate([cloud, cloud + 1e3]))


def refit_rvgp(monkeypatch):
    from semigroup.data.manifolds import fibonacci_sphere
    from semigroup.manifolds.rvgp import VectorFieldGP

    points = fibonacci_sphere(80)
    model = VectorFieldGP(n_eigenpairs=10, max_iter=0, max_normal_fraction=0.5).fit(
        points, np.cross([0.0, 0.0, 1.0], points)
    )
    return model, lambda: model.refit(points)


def refit_powerwalk(monkeypatch):
    from semigroup.graphs import PowerWalk

    model = PowerWalk(n_walks=5, random_state=0).fit(np.ones((4, 4)))
    monkeypatch.setattr(PowerWalk, "_background", stopped)
    return model, lambda: model.fit(np.ones((5, 5)))


def refit_dadao(monkeypatch):
    from semigroup.data.decentralised import random_least_squares
    from semigroup.operators.topology import path
    from semigroup.optimize import DADAO

    model = DADAO(t_max=2.0, random_state=0)
    model.minimize(random_least_squares(path(3), random_state=0))
    monkeypatch.setattr("semigroup.optimize.dadao.estimator._Run.in_one_process", stopped)
    return model, lambda: model.minimize(random_least_squares(path(5), random_state=0))


def refit_pde_refiner(monkeypatch):
    from semigroup.fields import PDERefiner

    fields = np.random.default_rng(0).normal(size=(4, 2, 1, 32))
    model = PDERefiner(width=4, n_steps=1, random_state=0).fit(fields)
    monkeypatch.setattr("semigroup.fields.pde_refiner.steppers.train", stopped)
    return model, lambda: model.fit(5 + fields[:, :, :, :16])


def refit_spe(monkeypatch):
    from semigroup.graphs import SPERegressor

    graphs = [np.ones((n, n)) - np.eye(n) for n in (3, 4, 5, 6)]
    options = {**TINY["spe"], "validation_fraction": 0.0}
    model = SPERegressor(**options).fit(graphs, [1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr("semigroup.graphs.spe.estimator.train", stopped)
    return model, lambda: model.fit(graphs, np.eye(4))


def refit_rqgnn(monkeypatch):
    from semigroup.graphs import RQGNN

    graphs = [np.ones((n, n)) - np.eye(n) for n in (3, 4, 5, 6)] * 2
    model = RQGNN(**TINY["rqgnn"]).fit(graphs, [0, 0, 1, 1] * 2)
    monkeypatch.setattr("semigroup.graphs.rqgnn.estimator.train", stopped)
    return model, lambda: model.fit(graphs, ["a", "a", "b", "b"] * 2)


def refit_gdss(monkeypatch):
    from semigroup.graphs import GDSS

    graphs = [np.ones((n, n)) - np.eye(n) for n in (3, 4, 5)]
    model = GDSS(**{**TINY["gdss"], "n_epochs": 1}).fit(graphs)
    monkeypatch.setattr("semigroup.graphs.gdss.estimator.train", stopped)
    return model, lambda: model.fit(graphs[:2])


@pytest.mark.parametrize(
    "prepare",
    [
        refit_koopman,
        refit_heat_geodesic,
        refit_rvgp,
        refit_powerwalk,
        refit_dadao,
        refit_pde_refiner,
        refit_spe,
        refit_rqgnn,
        refit_gdss,
    ],
    ids=lambda prepare: prepare.__name__.removeprefix("refit_"),
)
def test_a_second_fit_that_fails_or_is_stopped_leaves_the_first(prepare, monkeypatch):
    model, fail = prepare(monkeypatch)
    before = dict(vars(model))
    with pytest.raises((ValueError, KeyboardInterrupt)):
        fail()
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
