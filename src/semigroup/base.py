"""What every estimator of the library shares: checked input, seeded randomness, results in kind, storage.

Constructor arguments are hyper-parameters and are stored as given; ``fit`` (or ``solve``, ``minimize``) validates them
with the ``check_*`` functions of this module, each of which refuses bad input by a ``ValueError`` or ``TypeError`` that
names the argument, what it got and what it needs.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import numbers
import os
import shutil
import tempfile
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator
from torch import Tensor

import semigroup

__all__ = [
    "Estimator",
    "all_or_nothing",
    "atomic_folder",
    "check_array",
    "check_choice",
    "check_device",
    "check_integer",
    "check_number",
    "in_kind",
    "json_text",
    "numpy_generator",
    "plain_value",
    "require",
    "seed_from",
    "to_tensor",
    "torch_generator",
]


# typing.Self would say this better, but run-time checkers accept it only on whole classes.
_E = TypeVar("_E", bound="Estimator")
_Method = TypeVar("_Method", bound=Callable[..., Any])

# --- checked input -----------------------------------------------------------------------------------------------


def check_number(
    value: Any,
    name: str,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
) -> float:
    """A finite real number within the given open (`above`, `below`) or closed (`minimum`, `maximum`) bounds.

    Raises
    ------
    TypeError
        If `value` is no real number.
    ValueError
        If it is NaN, infinite or out of bounds.

    Examples
    --------
    >>> check_number(0.1, "epsilon", above=0)
    0.1
    >>> check_number(-1, "epsilon", above=0)
    Traceback (most recent call last):
    ...
    ValueError: epsilon must be > 0, got -1
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    wanted = [
        f"{sign} {bound:g}"
        for sign, bound in ((">", above), (">=", minimum), ("<", below), ("<=", maximum))
        if bound is not None
    ]
    number = float(value)
    inside = (
        np.isfinite(number)
        and (above is None or number > above)
        and (minimum is None or number >= minimum)
        and (below is None or number < below)
        and (maximum is None or number <= maximum)
    )
    if not inside:
        raise ValueError(f"{name} must be {' and '.join(wanted) or 'finite'}, got {value!r}")
    return number


def check_integer(value: Any, name: str, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """An integer within closed bounds; `TypeError` or `ValueError` naming the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return int(check_number(value, name, minimum=minimum, maximum=maximum))


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """One of a few words; `ValueError` naming the argument and the words otherwise."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_device(value: Any, name: str = "device") -> torch.device:
    """A torch device that can be computed on here; `ValueError` naming the argument otherwise.

    Examples
    --------
    >>> check_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{name} must name a device of torch, such as 'cpu' or 'cuda', got {value!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{name} must be one that torch sees, got {value!r} and no CUDA device is visible")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"{name} must be one that torch can compute on here, got {value!r}") from error
    return device


def check_array(
    value: Any,
    name: str,
    *,
    ndim: int | tuple[int, ...] | None = None,
    n_columns: int | None = None,
    min_rows: int = 1,
    dtype: Any = np.float64,
) -> np.ndarray:
    """A finite numeric numpy array of the wanted dimension.

    Parameters
    ----------
    value : array-like or Tensor
    name : str
        The argument's name, for the error.
    ndim : int or tuple of int, optional
        Number of axes allowed.
    n_columns : int, optional
        Length of the last axis.
    min_rows : int
        Least length of the first axis.
    dtype : dtype
        The result's type; ``None`` keeps a real floating type as it is.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the shape is wrong, or a value is NaN or infinite.
    """
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must hold numbers, got an array of Python objects") from error
    if array.dtype.kind not in "biuf" and not (array.dtype.kind == "c" and dtype is not None):
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype.kind == "c" and np.dtype(dtype).kind != "c":
        raise ValueError(f"Complex data not supported: {name} must hold real numbers")
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if allowed is not None and array.ndim not in allowed:
        hint = " Reshape your data with .reshape(-1, 1) or .reshape(1, -1)." if array.ndim < 2 and 2 in allowed else ""
        raise ValueError(
            f"{name} must have {' or '.join(map(str, allowed))} axes, got {array.ndim} (shape {array.shape}).{hint}"
        )
    if array.ndim and array.shape[0] < min_rows:
        raise ValueError(
            f"{name} must have at least {min_rows} rows, got {array.shape[0]} sample(s) (shape={array.shape}) "
            f"while a minimum of {min_rows} is required."
        )
    if array.size == 0:
        raise ValueError(f"{name} is empty: 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    if n_columns is not None and array.shape[-1] != n_columns:
        raise ValueError(f"{name} must have {n_columns} columns, got {array.shape[-1]} (shape {array.shape})")
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity, which this method is not defined on")
    if dtype is None:
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    with np.errstate(over="ignore"):
        result = np.asarray(array, dtype=dtype, order="C")  # ascontiguousarray would give a number an axis
    if result.dtype.kind in "fc" and result.dtype.itemsize < array.dtype.itemsize and not np.isfinite(result).all():
        raise ValueError(f"{name} holds numbers too large for {result.dtype}, in which this method computes")
    return result


def require(module: str, extra: str) -> Any:
    """Import an optional dependency, or say which extra brings it.

    Raises
    ------
    ImportError
        With the install command, if `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this needs the package '{module.partition('.')[0]}': pip install 'semigroup[{extra}]'"
        ) from error


# --- randomness --------------------------------------------------------------------------------------------------


def numpy_generator(
    random_state: int | np.random.Generator | np.random.RandomState | None,
) -> np.random.Generator:
    """The one numpy generator of a call, from an estimator's ``random_state``."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return np.random.default_rng(random_state)


def seed_from(random_state: int | np.random.Generator | np.random.RandomState | None) -> int:
    """A 63-bit seed drawn from ``random_state``: the same integer state gives the same seed."""
    return int(numpy_generator(random_state).integers(2**63 - 1))


def torch_generator(
    random_state: int | np.random.Generator | np.random.RandomState | None, device: torch.device | str = "cpu"
) -> torch.Generator:
    """The one torch generator of a call, from an estimator's ``random_state``."""
    return torch.Generator(device=device).manual_seed(seed_from(random_state))


# --- numpy in, numpy out; torch in, torch out --------------------------------------------------------------------


def to_tensor(value: Any, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Tensor:
    """`value` as a tensor: a tensor keeps its device unless told otherwise, anything else goes through numpy."""
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    return tensor.to(dtype=dtype or tensor.dtype, device=device if device is not None else tensor.device)


def in_kind(result: Tensor, like: Any) -> Any:
    """`result` in the kind of `like`: a tensor on its device and of its floating type, else a numpy array.

    Examples
    --------
    >>> in_kind(torch.ones(2), like=np.zeros(3))
    array([1., 1.], dtype=float32)
    """
    if isinstance(like, Tensor):
        same_type = like.is_floating_point() and result.is_floating_point()
        return result.to(device=like.device, dtype=like.dtype if same_type else result.dtype)
    return result.detach().cpu().numpy()


# --- fitting -----------------------------------------------------------------------------------------------------


def all_or_nothing(method: _Method) -> _Method:
    """Decorate a method that learns: where it raises or is stopped, the estimator stays as it was before.

    What is learnt is bound to attributes anew and never changed in place, so that the attributes are all there is to put back.

    Examples
    --------
    >>> class Halves(Estimator):
    ...     @all_or_nothing
    ...     def fit(self, x):
    ...         self.half_ = x / 2
    ...         return self if x > 0 else 1 / 0
    >>> halves = Halves().fit(4)
    >>> try:
    ...     halves.fit(-4)
    ... except ZeroDivisionError:
    ...     print(halves.half_)
    2.0
    """

    @functools.wraps(method)
    def whole(self: Any, *args: Any, **options: Any) -> Any:
        before = dict(vars(self))
        try:
            return method(self, *args, **options)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return typing.cast(_Method, whole)


# --- storage -----------------------------------------------------------------------------------------------------


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place only when the block ends without an error."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{final.name}-", suffix=".partial", dir=final.parent))
    try:
        yield work
        if final.exists():
            shutil.rmtree(final)
        work.chmod(0o755)
        work.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class Estimator(BaseEstimator):
    """Base of the library's estimators: scikit-learn's conventions, and storage without pickle.

    A fitted attribute (a name that ends in ``_``) that is a numpy array or a tensor is stored in
    ``model.safetensors``; a number, a string, a boolean, None or a list of them in ``config.json``, beside the
    constructor's arguments. A class whose fitted state holds anything else (a network) overrides `_get_state` and
    `_set_state`.
    """

    def save_pretrained(self, directory: str | os.PathLike[str]) -> Path:
        """Write the fitted estimator to a folder as ``config.json`` and ``model.safetensors``.

        Parameters
        ----------
        directory : path
            Created, or replaced as a whole once everything is written.

        Returns
        -------
        Path
            The folder.
        """
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {}
        for name, value in self._get_state().items():
            if isinstance(value, Tensor | np.ndarray | np.generic):
                tensor = torch.as_tensor(value)
                # safetensors keeps one owner a buffer, so each entry is a contiguous copy of its own
                tensors[name] = tensor.detach().cpu().contiguous().clone()
                values[name] = {"kind": "tensor" if isinstance(value, Tensor) else "array"}
            else:
                values[name] = {"kind": "value", "value": value}
        config = {
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "version": semigroup.__version__,
            "params": self.get_params(deep=False),
            "state": values,
        }
        text = json.dumps(config, indent=2, default=plain_value)
        with atomic_folder(directory) as folder:
            (folder / "config.json").write_text(text)
            save_file(tensors, folder / "model.safetensors")
        return Path(directory)

    @classmethod
    def from_pretrained(cls: type[_E], directory: str | os.PathLike[str]) -> _E:
        """Read an estimator written by `save_pretrained`.

        Parameters
        ----------
        directory : path or str
            A folder, or the id of a Hugging Face Hub repository.

        Raises
        ------
        ValueError
            If the folder holds an estimator of another class.
        """
        folder = Path(directory)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(str(directory)))
        config = json.loads((folder / "config.json").read_text())
        expected = f"{cls.__module__}:{cls.__qualname__}"
        if config["class"] != expected:
            raise ValueError(f"directory holds a {config['class']}, not a {expected}")
        estimator = cls(**config["params"])
        tensors = load_file(folder / "model.safetensors")
        state: dict[str, Any] = {}
        for name, entry in config["state"].items():
            if entry["kind"] == "value":
                state[name] = entry["value"]
            else:
                state[name] = tensors[name] if entry["kind"] == "tensor" else tensors[name].numpy()
        estimator._set_state(state)
        return estimator

    def _get_state(self) -> dict[str, Any]:
        """Fitted state by name: arrays, tensors and JSON values only."""
        return {name: value for name, value in vars(self).items() if name.endswith("_") and name[0] != "_"}

    def _set_state(self, state: dict[str, Any]) -> None:
        """Take over what `_get_state` gave."""
        for name, value in state.items():
            setattr(self, name, value)


def plain_value(value: Any) -> Any:
    """JSON's last resort: numpy's numbers and arrays become Python's, paths become words, anything else is named."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot store {value!r}: only arrays, numbers, strings and lists of them are stored")


def json_text(content: Any, default: Callable[[Any], Any] = plain_value) -> str:
    """Results as JSON, which knows neither NaN nor infinity: they become null.

    Parameters
    ----------
    content : dict, list, number or word
    default : callable
        What becomes of values that JSON does not know.

    Examples
    --------
    >>> print(json_text({"gap": float("nan"), "rows": [1.5, np.float32(np.inf)]}))
    {
     "gap": null,
     "rows": [
      1.5,
      null
     ]
    }
    """

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: finite(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if value is None or isinstance(value, str | int):
            return value
        return finite(default(value))

    return json.dumps(finite(content), indent=1, allow_nan=False)
