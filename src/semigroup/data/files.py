"""Reading the files that users hold: points, trajectories and graphs. Nothing is ever unpickled.

Whatever is wrong with a file is said by a `ValueError` that begins with its name. Text may be compressed (``.csv.gz``).
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from semigroup.base import check_array, require
from semigroup.operators import Graph, as_graph

__all__ = ["PointCloud", "read_array", "read_arrays", "read_graph", "read_lines", "read_points", "read_table"]

_TABLES = (".csv", ".tsv", ".txt", ".parquet")


def read_table(path: str | Path) -> pd.DataFrame:
    """A table with a header from CSV, TSV, text with any separator, or parquet."""
    path = _existing(path)
    suffix = _suffix(path)
    with _naming(path):
        if suffix == ".csv":
            return pd.read_csv(path)
        if suffix == ".tsv":
            return pd.read_csv(path, sep="\t")
        if suffix == ".txt":
            return pd.read_csv(path, sep=None, engine="python")  # the engine that finds the separator
        if suffix == ".parquet":
            return pd.read_parquet(path)
    raise ValueError(f"{path}: a table is read from {_listed(_TABLES)}, got '{suffix}'")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text."""
    path = _existing(path)
    with _naming(path), gzip.open(path, "rt") if path.suffix.lower() == ".gz" else path.open() as lines:
        return lines.read().splitlines()


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npy, npz, HDF5, NetCDF or Zarr file, or the numeric columns of a table, by name."""
    path = _existing(path)
    with _naming(path):
        return _arrays(path, _suffix(path))


def _arrays(path: Path, suffix: str) -> dict[str, np.ndarray]:
    if suffix == ".npy":
        return {path.stem: np.load(path, allow_pickle=False)}
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    if suffix in (".h5", ".hdf5"):
        import h5py

        arrays: dict[str, np.ndarray] = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        return arrays
    if suffix in (".nc", ".zarr"):
        import xarray as xr

        if suffix == ".zarr":
            require("zarr", "zarr")
        with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else None) as dataset:
            return {str(name): variable.to_numpy() for name, variable in dataset.data_vars.items()}
    if suffix in _TABLES:
        numbers = read_table(path).select_dtypes("number")
        if numbers.shape[1] == 0:
            raise ValueError(f"{path}: no numeric column in the table")
        return {path.stem: numbers.to_numpy(dtype=np.float64)}
    known = _listed((".npy", ".npz", ".h5", ".hdf5", ".nc", ".zarr", *_TABLES))
    raise ValueError(f"{path}: arrays are read from {known}, got '{suffix}'")


def read_array(path: str | Path, name: str | None = None) -> np.ndarray:
    """The one array of a file, or the one called `name`.

    Raises
    ------
    ValueError
        If the file holds several arrays and `name` does not choose one.
    """
    arrays = read_arrays(path)
    if name is not None:
        if name not in arrays:
            raise ValueError(f"{path}: no array called '{name}'; it holds {', '.join(arrays)}")
        return arrays[name]
    if len(arrays) != 1:
        raise ValueError(f"{path}: expected one array, found {len(arrays)}: {', '.join(arrays) or 'none'}")
    return next(iter(arrays.values()))


@dataclass(frozen=True)
class PointCloud:
    """Points and what else a file says of each.

    Attributes
    ----------
    points : ndarray of shape (n, d)
        float64, finite.
    features : tuple of str
        Names of the d columns.
    annotations : DataFrame of n rows
        Everything else the file has for each point; its index holds the points' names.
    """

    points: np.ndarray
    features: tuple[str, ...]
    annotations: pd.DataFrame


def read_points(path: str | Path) -> PointCloud:
    """A point cloud with its annotations from a table, npy, npz, HDF5 or h5ad (single cells).

    ====================  ===========================================  ===================================================
    file                  points                                       annotations
    ====================  ===========================================  ===================================================
    table                 the columns of decimal numbers, or else all  the other columns (words, whole numbers)
                          numeric ones
    npy                   the array                                    none
    npz, HDF5             ``X``, ``points``, or the only array with    arrays of one axis with one entry a point
                          two axes
    h5ad                  the principal components ``obsm/X_pca``,     ``obs``
                          or else ``X``
    ====================  ===========================================  ===================================================

    Raises
    ------
    ValueError
        If there are no points, or a coordinate is NaN or infinite; begins with the file's name.
    """
    path = _existing(path)
    with _naming(path):
        if _suffix(path) == ".h5ad":
            return _from_h5ad(path)
        if _suffix(path) in _TABLES:
            table = read_table(path)
            numeric = table.select_dtypes("number")
            decimal = [name for name, kind in numeric.dtypes.items() if pd.api.types.is_float_dtype(kind)]
            numeric = numeric[decimal] if decimal else numeric
            if numeric.shape[1] == 0:
                raise ValueError(f"{path}: no numeric column in the table")
            points, features = numeric.to_numpy(dtype=np.float64), tuple(map(str, numeric.columns))
            annotations = table.drop(columns=numeric.columns)
        else:
            arrays = read_arrays(path)
            flat = [name for name, array in arrays.items() if array.ndim == 2]
            name = next((name for name in ("X", "points") if name in arrays), flat[0] if len(flat) == 1 else None)
            if len(arrays) == 1:
                name = next(iter(arrays))
            if name is None:
                raise ValueError(
                    f"{path}: points are the array 'X', 'points', or the only one with two axes; "
                    f"found {', '.join(arrays) or 'none'}"
                )
            points = arrays.pop(name)
            features = tuple(f"x{j + 1}" for j in range(points.shape[-1] if points.ndim == 2 else 0))
            annotations = pd.DataFrame(
                {key: array for key, array in arrays.items() if array.shape == (len(points),)}, index=range(len(points))
            )
        return PointCloud(check_array(points, str(path), ndim=2), features, annotations)


_DENSE_LIMIT = 200_000_000  # numbers of a sparse expression matrix that are spelt out: 1.6 GB


def _from_h5ad(path: Path) -> PointCloud:
    """Cells by the format of AnnData files, https://anndata.readthedocs.io/en/latest/fileformat-prose.html."""
    import h5py

    with h5py.File(path) as file:
        frame = file["obs"]
        if not isinstance(frame, h5py.Group):
            raise ValueError(
                f"{path}: written by a version of anndata before 0.7; read and write it anew with a later one"
            )
        columns = {str(name): _column(frame[str(name)]) for name in frame.attrs["column-order"]}
        annotations = pd.DataFrame(columns, index=_column(frame[frame.attrs["_index"]]))
        pca = file.get("obsm/X_pca")
        if pca is not None:
            points = pca[()]
            features = tuple(f"PC{j + 1}" for j in range(points.shape[1]))
        else:
            points = _matrix(file["X"], path)
            names = file["var"][file["var"].attrs["_index"]]
            features = tuple(map(str, _column(names)))
    return PointCloud(check_array(points, str(path), ndim=2), features, annotations)


def _matrix(item: Any, path: Path) -> np.ndarray:
    """A dense dataset, or a group with the parts of a CSR or CSC matrix."""
    kind = item.attrs.get("encoding-type", "array")
    if kind not in ("csr_matrix", "csc_matrix"):
        return item[()]
    shape = tuple(map(int, item.attrs["shape"]))
    if shape[0] * shape[1] > _DENSE_LIMIT:
        raise ValueError(
            f"{path}: X is sparse and too large to spell out, {shape}; store its principal components in obsm/X_pca"
        )
    parts = item["data"][()], item["indices"][()], item["indptr"][()]
    sparse = sp.csr_array if kind == "csr_matrix" else sp.csc_array
    return sparse(parts, shape=shape).toarray()


def _column(item: Any) -> Any:
    """A column of an AnnData table: plain, strings, or codes of categories."""
    if "codes" in item:
        categories = item["categories"]
        names = categories.asstr()[()] if categories.dtype.kind == "O" else categories[()]
        return pd.Categorical.from_codes(item["codes"][()], names)
    if "values" in item:  # with a mask of what is missing
        return pd.Series(item["values"][()]).mask(item["mask"][()]).to_numpy()
    return item.asstr()[()] if item.dtype.kind == "O" else item[()]


def read_graph(path: str | Path, *, directed: bool = False) -> Graph:
    """A graph from GraphML, MatrixMarket, arrays (npz, npy, HDF5), or an edge list.

    An edge list (.csv, .tsv, .parquet, .txt, .edges, .edgelist) has the columns source, target and optionally weight; its node
    names are kept. The first line of .csv and .tsv is a header unless it holds two numbers; the other text needs none.
    Leading lines that start with ``#`` or ``%`` are comments.

    Arrays are a scipy sparse matrix as `scipy.sparse.save_npz` writes it, its parts ``indptr``, ``indices`` and optionally
    ``data``, an edge list ``edges``, or a single array: an edge list or a square matrix.
    """
    path = _existing(path)
    with _naming(path):
        return _graph(path, _suffix(path), directed)


def _graph(path: Path, suffix: str, directed: bool) -> Graph:
    name = str(path)
    if suffix == ".graphml":
        import networkx as nx

        return as_graph(nx.read_graphml(path), name)
    if suffix == ".mtx":
        return as_graph(sp.csr_array(scipy.io.mmread(path)), name)
    if suffix in (".npz", ".npy", ".h5", ".hdf5"):
        arrays = read_arrays(path)
        if suffix == ".npz" and "format" in arrays:
            return as_graph(sp.csr_array(sp.load_npz(path)), name)
        if {"indptr", "indices"} <= set(arrays):
            return as_graph(_from_csr_arrays(arrays), name)
        if "edges" in arrays or len(arrays) == 1:
            return as_graph(arrays.get("edges", next(iter(arrays.values()))), name, directed=directed)
        raise ValueError(
            f"{path}: a graph is a scipy sparse matrix, 'indptr' and 'indices', 'edges', or one array, "
            f"found {', '.join(arrays) or 'none'}"
        )
    if suffix == ".parquet":
        return _from_edge_table(read_table(path), path, directed)
    if suffix in (".csv", ".tsv", ".txt", ".edges", ".edgelist"):
        return _from_edge_table(_read_edge_text(path, suffix), path, directed)
    known = _listed((".graphml", ".mtx", ".npz", ".npy", ".h5", ".hdf5", *_TABLES, ".edges", ".edgelist"))
    raise ValueError(f"{path}: a graph is read from {known}, got '{suffix}'")


def _read_edge_text(path: Path, suffix: str) -> pd.DataFrame:
    """The columns of an edge list in text, after a look at its first lines."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        comments = list(itertools.takewhile(lambda line: line[0] in "#%\n", lines))
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        first = next(itertools.islice(lines, len(comments), None), "")
    separator = "\t" if suffix == ".tsv" else "," if "," in first else r"\s+"
    cells = first.replace(",", " ").split()[:2]
    is_header = [cell.strip('"').lower() for cell in cells] in (["source", "target"], ["from", "to"], ["src", "dst"])
    if suffix in (".csv", ".tsv"):
        is_header |= not all(map(_is_number, cells))
    # A name may hold a '#' where names are quoted or separated by commas.
    comment = "#" if separator == r"\s+" else None
    return pd.read_csv(
        path,
        sep=separator,
        skiprows=len(comments),
        header=0 if is_header else None,
        comment=comment,
        skipinitialspace=True,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_csr_arrays(arrays: dict[str, np.ndarray]) -> sp.csr_array:
    indptr, indices = arrays["indptr"].astype(np.int64), arrays["indices"].astype(np.int64)
    values = arrays.get("data", np.ones(len(indices)))
    n = len(indptr) - 1
    return sp.csr_array((values.astype(np.float64), indices, indptr), shape=(n, n))


def _from_edge_table(table: pd.DataFrame, path: Path, directed: bool) -> Graph:
    if table.shape[1] < 2:
        raise ValueError(f"{path}: an edge list needs the columns source and target, got {table.shape[1]} column")
    source, target = table.iloc[:, 0], table.iloc[:, 1]
    if source.isna().any() or target.isna().any():
        raise ValueError(f"{path}: an edge has no source or no target")
    codes, names = pd.factorize(pd.concat([source, target], ignore_index=True), sort=True)
    m, n = len(table), len(names)
    weights = np.ones(m)
    if table.shape[1] > 2 and pd.api.types.is_numeric_dtype(table.iloc[:, 2]):
        weights = table.iloc[:, 2].to_numpy(dtype=np.float64)
    adjacency = sp.csr_array(sp.coo_array((weights, (codes[:m], codes[m:])), shape=(n, n)))
    if not directed:
        adjacency = sp.csr_array(adjacency + adjacency.T - sp.diags_array(adjacency.diagonal()))
    return Graph(as_graph(adjacency, str(path)).adjacency, np.asarray(names))


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    return path


def _suffix(path: Path) -> str:
    """The ending that says the format, without that of the compression of text."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if (
        suffixes[-1:] == [".gz"]
        and suffixes[-2:-1]
        and suffixes[-2] not in (".npy", ".npz", ".h5", ".hdf5", ".nc", ".parquet")
    ):
        return suffixes[-2]
    return path.suffix.lower()


def _listed(suffixes: tuple[str, ...]) -> str:
    return f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever a reader has against a file's content becomes an error that begins with the file's name."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: {error}") from error
