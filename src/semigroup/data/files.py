"""Reading the files that users hold: points, trajectories and graphs. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from semigroup.operators import Graph, as_graph

__all__ = ["read_array", "read_arrays", "read_graph", "read_table"]


def read_table(path: str | Path) -> pd.DataFrame:
    """A table from CSV, TSV or parquet."""
    path = _existing(path)
    suffix = _suffix(path)
    if suffix in (".csv", ".tsv", ".txt"):
        return pd.read_csv(path, sep=None if suffix == ".txt" else ("\t" if suffix == ".tsv" else ","), engine="python")
    if suffix == ".parquet":
        return pd.read_parquet(path)
    raise ValueError(f"{path}: a table is read from .csv, .tsv, .txt or .parquet, got '{suffix}'")


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npy, npz, HDF5, NetCDF or Zarr file, or the numeric columns of a table, by name."""
    path = _existing(path)
    suffix = _suffix(path)
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

        with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else None) as dataset:
            return {str(name): variable.to_numpy() for name, variable in dataset.data_vars.items()}
    if suffix in (".csv", ".tsv", ".txt", ".parquet"):
        numbers = read_table(path).select_dtypes("number")
        if numbers.shape[1] == 0:
            raise ValueError(f"{path}: no numeric column in the table")
        return {path.stem: numbers.to_numpy(dtype=np.float64)}
    raise ValueError(
        f"{path}: arrays are read from .npy, .npz, .h5, .nc, .zarr, .csv, .tsv, .txt or .parquet, got '{suffix}'"
    )


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


def read_graph(path: str | Path, *, directed: bool = False) -> Graph:
    """A graph from GraphML, MatrixMarket, npz (scipy sparse, or CSR arrays ``indptr``, ``indices``), or an edge list.

    An edge list (.csv, .tsv, .txt, .edges, .parquet) has the columns source, target and optionally weight; its node
    names are kept. Lines of .txt and .edges that start with ``#`` are comments, and those files need no header.
    """
    path = _existing(path)
    suffix = _suffix(path)
    if suffix == ".graphml":
        import networkx as nx

        return as_graph(nx.read_graphml(path), str(path))
    if suffix == ".mtx":
        return as_graph(sp.csr_array(scipy.io.mmread(path)), str(path))
    if suffix == ".npz":
        arrays = read_arrays(path)
        if "format" in arrays:
            return as_graph(sp.csr_array(sp.load_npz(path)), str(path))
        if {"indptr", "indices"} <= set(arrays):
            return as_graph(_from_csr_arrays(arrays), str(path))
        if "edges" in arrays:
            return as_graph(arrays["edges"].astype(np.int64), str(path), directed=directed)
        raise ValueError(f"{path}: a graph's npz holds a scipy sparse matrix, 'indptr' and 'indices', or 'edges'")
    if suffix in (".csv", ".tsv", ".parquet"):
        return _from_edge_table(read_table(path), path, directed)
    if suffix in (".txt", ".edges", ".edgelist"):
        table = pd.read_csv(path, sep=r"[\s,]+", comment="#", header=None, engine="python")
        return _from_edge_table(table, path, directed)
    raise ValueError(
        f"{path}: a graph is read from .graphml, .mtx, .npz, .csv, .tsv, .parquet, .txt or .edges, got '{suffix}'"
    )


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
    return path.suffix.lower()
