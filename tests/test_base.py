"""Checked input, seeds, kinds and storage."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semigroup.base import (
    Estimator,
    all_or_nothing,
    atomic_folder,
    check_array,
    check_choice,
    check_device,
    check_integer,
    check_number,
    in_kind,
    json_text,
    numpy_generator,
    require,
    seed_from,
    to_tensor,
    torch_generator,
)


class Mean(Estimator):
    """A complete estimator in four lines."""

    def __init__(self, *, power: float = 1.0, label: str = "a", random_state: int | None = None) -> None:
        self.power, self.label, self.random_state = power, label, random_state

    def fit(self, X):
        X = check_array(X, "X", ndim=2)
        self.mean_, self.tensor_, self.n_, self.note_ = X.mean(axis=0), torch.tensor(X.sum()), len(X), None
        return self


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_accepted_exactly_when_it_is_within_its_bounds(value):
    inside = np.isfinite(value) and 0 < value <= 2
    if inside:
        assert check_number(value, "x", above=0, maximum=2) == value
    else:
        with pytest.raises(ValueError, match="x must be > 0 and <= 2"):
            check_number(value, "x", above=0, maximum=2)


@pytest.mark.parametrize("value", ["1", None, True, 1j, np.zeros(2)])
def test_what_is_no_number_is_refused_by_type(value):
    with pytest.raises(TypeError, match="epsilon"):
        check_number(value, "epsilon")
    with pytest.raises(TypeError, match="n_steps"):
        check_integer(value, "n_steps")


def test_integers_of_numpy_are_integers_and_floats_are_not():
    assert check_integer(np.int32(3), "k", minimum=1) == 3
    with pytest.raises(TypeError, match="k"):
        check_integer(3.0, "k")
    with pytest.raises(ValueError, match="k must be >= 1"):
        check_integer(0, "k", minimum=1)


def test_a_wrong_word_is_refused_with_the_right_ones():
    with pytest.raises(ValueError, match="kind must be one of 'a', 'b', got 'c'"):
        check_choice("c", "kind", ("a", "b"))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ([[1.0, np.nan]], ValueError, "NaN"),
        ([[1.0, np.inf]], ValueError, "infinity"),
        ([1.0, 2.0], ValueError, "2 axes"),
        (np.zeros((0, 2)), ValueError, "at least 1 rows"),
        (np.zeros((3, 0)), ValueError, "empty"),
        (np.zeros((3, 4)), ValueError, "2 columns"),
        ([["a", "b"]], TypeError, "numbers"),
        (np.array([[object(), 1]]), TypeError, "numbers"),
        (np.array([[1j, 2]]), ValueError, "Complex"),
    ],
)
def test_bad_arrays_are_refused_by_name(value, error, words):
    with pytest.raises(error, match=words) as caught:
        check_array(value, "X0", ndim=2, n_columns=2)
    assert "X0" in str(caught.value)


def test_arrays_and_tensors_of_any_real_type_become_the_wanted_type():
    for value in ([[1, 2]], np.ones((2, 2), dtype=np.float32), torch.ones(2, 2, requires_grad=True)):
        assert check_array(value, "X", ndim=2).dtype == np.float64
    assert check_array(np.ones(3, dtype=np.float32), "x", dtype=None).dtype == np.float32


def test_numbers_too_large_for_single_precision_are_refused():
    with pytest.raises(ValueError, match="states holds numbers too large for float32"):
        check_array([1.0, 1e39], "states", dtype=np.float32)


def test_devices_that_are_not_here_are_refused_by_name(monkeypatch):
    assert check_device("cpu") == torch.device("cpu") == check_device(torch.device("cpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for value in ("abacus", None, "cuda", "cuda:1", "meta"):
        with pytest.raises(ValueError, match="where must"):
            check_device(value, "where")


def test_results_come_back_in_kind():
    result = torch.ones(3, dtype=torch.float64)
    assert isinstance(in_kind(result, like=[1.0]), np.ndarray)
    back = in_kind(result, like=torch.zeros(1, dtype=torch.float32))
    assert isinstance(back, torch.Tensor) and back.dtype == torch.float32
    assert in_kind(torch.arange(3), like=torch.zeros(1)).dtype == torch.int64
    assert to_tensor(np.ones(2), dtype=torch.float32).dtype == torch.float32


def test_the_same_state_gives_the_same_numbers_and_none_does_not():
    assert numpy_generator(3).random() == numpy_generator(3).random()
    assert seed_from(3) == seed_from(3) != seed_from(4)
    assert torch.equal(torch.rand(2, generator=torch_generator(1)), torch.rand(2, generator=torch_generator(1)))
    assert numpy_generator(np.random.RandomState(0)).random() == numpy_generator(np.random.RandomState(0)).random()
    assert seed_from(None) != seed_from(None)


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(ImportError, match=r"pip install 'semigroup\[chem\]'"):
        require("no_such_package_at_all", "chem")


def test_an_estimator_is_stored_and_read_back_without_pickle(tmp_path):
    fitted = Mean(power=2.0, random_state=5).fit([[1.0, 2.0], [3.0, 5.0]])
    folder = fitted.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    loaded = Mean.from_pretrained(folder)
    assert loaded.get_params() == fitted.get_params()
    np.testing.assert_array_equal(loaded.mean_, [2.0, 3.5])
    assert isinstance(loaded.tensor_, torch.Tensor) and loaded.n_ == 2 and loaded.note_ is None


def test_a_stored_estimator_of_another_class_is_refused(tmp_path):
    folder = Mean().fit([[1.0]]).save_pretrained(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "class": "os:system"}))
    with pytest.raises(ValueError, match="os:system"):
        Mean.from_pretrained(folder)


def test_what_cannot_be_stored_leaves_nothing_behind(tmp_path):
    fitted = Mean().fit([[1.0]])
    fitted.odd_ = {1, 2}
    with pytest.raises(TypeError, match="cannot store"):
        fitted.save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_arrays_among_the_hyper_parameters_are_stored_as_lists(tmp_path):
    folder = Mean(power=np.array([1.0, 2.0]), random_state=np.int64(3)).fit([[1.0]]).save_pretrained(tmp_path / "model")
    assert Mean.from_pretrained(folder).get_params() == {"power": [1.0, 2.0], "label": "a", "random_state": 3}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_fit_that_does_not_end_leaves_the_estimator_as_it_was(error):
    class Half(Mean):
        @all_or_nothing
        def fit(self, X):
            super().fit(X)
            self.extra_ = len(X)
            if len(X) > 1:
                raise error
            return self

    model = Half()
    with pytest.raises(error):
        model.fit([[1.0], [2.0]])
    assert vars(model) == {"power": 1.0, "label": "a", "random_state": None}
    before = dict(vars(model.fit([[1.0]])))
    with pytest.raises(error):
        model.fit([[1.0], [2.0]])
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def test_results_become_json_without_nan_or_infinity():
    text = json_text(
        {"a": [np.nan, 1.0, (np.inf, True)], "b": np.array([1.0, -np.inf]), "c": np.float32("nan"), "d": "NaN"}
    )
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [None, 1.0, [None, True]],
        "b": [1.0, None],
        "c": None,
        "d": "NaN",
    }
    with pytest.raises(TypeError, match="cannot store"):
        json_text({"a": object()})


def test_a_folder_is_replaced_only_when_the_new_one_is_whole(tmp_path):
    target = tmp_path / "out"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")

    def fail():
        with atomic_folder(target) as folder:
            (folder / "a").write_text("2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (target / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
