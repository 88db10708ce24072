"""Reading users' files."""

import functools
import gzip
import hashlib
import http.server
import sys
import threading
import time

import h5py
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from semigroup.data.datasets import Download, download
from semigroup.data.files import read_array, read_arrays, read_graph, read_points, read_table

EDGES = [("a", "b", 1.0), ("b", "c", 2.0), ("c", "d", 0.5)]
ADJACENCY = np.array([[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0.5], [0, 0, 0.5, 0]])


def write_graph(path):
    """The same weighted path in the format that the file's name asks for."""
    frame = pd.DataFrame(EDGES, columns=["source", "target", "weight"])
    match path.suffix:
        case ".graphml":
            graph = nx.Graph()
            graph.add_weighted_edges_from(EDGES)
            nx.write_graphml(graph, path)
        case ".mtx":
            scipy.io.mmwrite(path, sp.coo_array(ADJACENCY))
        case ".npz":
            sp.save_npz(path, sp.csr_matrix(ADJACENCY))
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".parquet":
            frame.to_parquet(path)
        case _:
            path.write_text("# a comment\n" + "\n".join(f"{s} {t} {w}" for s, t, w in EDGES))
    return path


@pytest.mark.parametrize("name", ["g.graphml", "g.mtx", "g.npz", "g.csv", "g.tsv", "g.parquet", "g.txt", "g.edges"])
def test_every_graph_format_gives_the_same_graph(tmp_path, name):
    graph = read_graph(write_graph(tmp_path / name))
    np.testing.assert_array_equal(graph.adjacency.toarray(), ADJACENCY)
    if name not in ("g.mtx", "g.npz"):
        assert list(graph.names) == ["a", "b", "c", "d"]


def test_csr_arrays_and_edge_arrays_are_graphs_too(tmp_path):
    matrix = sp.csr_array(ADJACENCY)
    np.savez(tmp_path / "csr.npz", indptr=matrix.indptr, indices=matrix.indices.astype(np.uint16), data=matrix.data)
    np.testing.assert_array_equal(read_graph(tmp_path / "csr.npz").adjacency.toarray(), ADJACENCY)
    np.savez(tmp_path / "edges.npz", edges=np.array([[0, 1], [1, 2]], dtype=np.int16), labels=np.zeros(3))
    np.save(tmp_path / "edges.npy", np.array([[0, 1], [1, 2], [1, 2]]))
    with h5py.File(tmp_path / "edges.h5", "w") as file:
        file["edges"], file["labels"] = np.array([[0, 1], [1, 2]]), np.zeros(3)
    with h5py.File(tmp_path / "csr.h5", "w") as file:
        file["indptr"], file["indices"], file["data"] = matrix.indptr, matrix.indices, matrix.data
    np.testing.assert_array_equal(read_graph(tmp_path / "csr.h5").adjacency.toarray(), ADJACENCY)
    np.save(tmp_path / "matrix.npy", ADJACENCY)
    np.testing.assert_array_equal(read_graph(tmp_path / "matrix.npy").adjacency.toarray(), ADJACENCY)
    for name in ("edges.npz", "edges.npy", "edges.h5"):
        assert read_graph(tmp_path / name).adjacency.nnz == 4
        assert read_graph(tmp_path / name, directed=True).adjacency.nnz == 2
    np.savez(tmp_path / "other.npz", x=np.zeros(2), y=np.zeros(2))
    with pytest.raises(ValueError, match=r"other\.npz.*found x, y"):
        read_graph(tmp_path / "other.npz")


@pytest.mark.parametrize("name", ["g.csv", "g.tsv", "g.txt", "g.edges", "g.mtx", "g.graphml"])
def test_compressed_text_is_read_like_text(tmp_path, name):
    plain = write_graph(tmp_path / name)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_graph(packed).adjacency.toarray(), ADJACENCY)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.csv", "0,1\n1,2\n"),
        ("g.csv", "a,b\n0,1\n1,2\n"),
        ("g.tsv", "0\t1\n1\t2\n"),
        ("g.txt", "source target\n0 1\n1 2\n"),
        ("g.txt", "0, 1\n1, 2\n"),
        ("g.edges", "% from a network collection\n% 2 3 3\n0 1\n1 2\n"),
        ("g.txt", "# one\n\n0\t1\n1\t2 # the last\n"),
    ],
)
def test_no_edge_is_taken_for_a_header_and_no_header_for_an_edge(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    graph = read_graph(path, directed=True)
    assert graph.names.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(graph.adjacency.toarray(), np.eye(3, k=1))


def test_an_edge_list_of_a_million_lines_takes_seconds(tmp_path):
    ends = np.random.default_rng(0).integers(0, 10**5, (10**6, 2))
    path = tmp_path / "g.txt"
    path.write_text("\n".join(f"{a} {b}" for a, b in ends.tolist()))
    start = time.process_time()
    graph = read_graph(path, directed=True)
    # pandas' Python engine alone would need over five.
    assert time.process_time() - start < 4
    assert graph.adjacency.sum() == 10**6


@pytest.mark.parametrize("name", ["x.npz", "x.h5", "x.nc", "x.parquet", "x.csv", "x.graphml", "x.mtx", "x.txt"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01 this is something else \xff"], ids=["empty", "damaged"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    reader = read_array if name in ("x.nc",) else read_graph
    with pytest.raises(ValueError, match=rf"{name}: \S"):
        reader(path)


def test_a_missing_reader_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    (tmp_path / "x.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"pip install 'semigroup\[zarr\]'"):
        read_array(tmp_path / "x.zarr")


@pytest.mark.parametrize(
    "name", ["x.npy", "x.npz", "x.csv", "x.tsv", "x.txt", "x.csv.gz", "x.parquet", "x.h5", "x.hdf5", "x.nc", "x4.nc"]
)
def test_every_array_format_gives_the_same_array(tmp_path, name):
    points = np.arange(6.0).reshape(3, 2)
    path = tmp_path / name
    match path.suffix:
        case ".npy":
            np.save(path, points)
        case ".npz":
            np.savez(path, points)
        case ".h5" | ".hdf5":
            with h5py.File(path, "w") as file:
                file["group/points"] = points
        case ".nc":
            import xarray as xr

            engine = "h5netcdf" if "4" in name else "scipy"  # NetCDF 4 and 3
            xr.Dataset({"points": (("row", "column"), points)}).to_netcdf(path, engine=engine)
        case ".parquet":
            pd.DataFrame(points, columns=["u", "v"]).assign(label="cell").to_parquet(path)
        case _:
            frame = pd.DataFrame(points, columns=["u", "v"]).assign(label="cell")
            frame.to_csv(path, index=False, sep="," if ".csv" in name else "\t")
    np.testing.assert_array_equal(read_array(path), points)


def test_an_array_is_chosen_by_name_where_there_are_several(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.ones(3))
    assert set(read_arrays(tmp_path / "two.npz")) == {"a", "b"}
    assert read_array(tmp_path / "two.npz", "b").size == 3
    with pytest.raises(ValueError, match="found 2"):
        read_array(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="'c'"):
        read_array(tmp_path / "two.npz", "c")


def test_pickled_arrays_are_not_opened(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_array(tmp_path / "x.npy")


@pytest.mark.parametrize("reader", [read_array, read_graph, read_table])
def test_missing_and_unknown_files_are_refused_by_name(tmp_path, reader):
    with pytest.raises(ValueError, match=r"absent\.csv: no such file"):
        reader(tmp_path / "absent.csv")
    odd = tmp_path / "x.docx"
    odd.write_text("")
    with pytest.raises(ValueError, match=r"x\.docx.*got '\.docx'"):
        reader(odd)


def test_an_edge_list_without_targets_is_refused(tmp_path):
    path = tmp_path / "g.csv"
    path.write_text("source\na\n")
    with pytest.raises(ValueError, match="source and target"):
        read_graph(path)
    path.write_text("source,target\na,\n")
    with pytest.raises(ValueError, match="no target"):
        read_graph(path)


@pytest.fixture
def served_file(tmp_path):
    """A file and its address on a web server of this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "raw.txt").write_text("1 2 3")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder / "raw.txt", f"http://127.0.0.1:{server.server_port}/raw.txt"
        server.shutdown()


def test_a_download_is_checked_converted_and_kept(tmp_path, monkeypatch, served_file):
    file, url = served_file
    monkeypatch.delenv("SEMIGROUP_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    calls = []

    def convert(paths):
        calls.append(paths)
        return {"x": np.array(paths[0].read_text().split(), dtype=int)}

    good = Download("made/up.npz", {url: hashlib.sha256(file.read_bytes()).hexdigest()}, convert)
    for _ in range(2):
        np.testing.assert_array_equal(download(good)["x"], [1, 2, 3])
    assert len(calls) == 1, "the second time it comes from the cache"
    bad = Download("made/other.npz", {f"{url}?again": "0" * 64}, convert)
    with pytest.raises(ValueError, match="hash"):
        download(bad)
    assert not (tmp_path / "cache" / "made" / "other.npz").exists()


def test_a_local_copy_is_preferred_to_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIGROUP_DATA", str(tmp_path))
    (tmp_path / "made").mkdir()
    np.savez(tmp_path / "made" / "up.npz", x=np.arange(3))
    there = Download("made/up.npz", {"http://127.0.0.1:1/nothing": "0"}, lambda paths: {})
    np.testing.assert_array_equal(download(there)["x"], [0, 1, 2])


POINTS = np.array([[0.5, 1.5], [2.5, -3.5], [4.25, 0.0]])


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.parquet", "p.npz", "p.h5"])
def test_points_come_with_what_else_the_file_says_of_them(tmp_path, name):
    path, kinds = tmp_path / name, np.array([2, 1, 2])
    table = pd.DataFrame({"kind": kinds, "u": POINTS[:, 0], "v": POINTS[:, 1]})
    if name == "p.npz":
        np.savez(path, X=POINTS, kind=kinds, other=np.zeros((5, 5)))
    elif name == "p.h5":
        with h5py.File(path, "w") as file:
            file["points"], file["kind"] = POINTS, kinds
    elif name == "p.parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="," if name == "p.csv" else "\t")
    cloud = read_points(path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.features in (("u", "v"), ("x1", "x2"))
    assert list(cloud.annotations.columns) == ["kind"] and list(cloud.annotations["kind"]) == [2, 1, 2]


def test_whole_numbers_are_coordinates_where_there_is_nothing_else(tmp_path):
    pd.DataFrame({"gene1": [3, 0], "gene2": [1, 5], "cell": ["a", "b"]}).to_csv(tmp_path / "counts.csv", index=False)
    cloud = read_points(tmp_path / "counts.csv")
    assert cloud.points.tolist() == [[3, 1], [0, 5]] and list(cloud.annotations["cell"]) == ["a", "b"]


def write_cells(path, *, sparse: str | None = None, components: np.ndarray | None = None):
    """A file in the layout that anndata writes."""

    def words(group, name, values):
        group[name] = np.array(values, dtype=object)

    with h5py.File(path, "w") as file:
        if sparse is None:
            file["X"] = POINTS
        else:
            matrix = (sp.csr_array if sparse == "csr_matrix" else sp.csc_array)(POINTS)
            group = file.create_group("X")
            group.attrs.update({"encoding-type": sparse, "shape": POINTS.shape})
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(matrix, part)
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs.update({"_index": "_index", "column-order": np.array(["type", "day", "dose"], dtype=object)})
        var.attrs["_index"] = "_index"
        words(obs, "_index", ["c1", "c2", "c3"])
        words(var, "_index", ["g1", "g2"])
        words(obs.create_group("type"), "categories", ["B", "T"])
        obs["type/codes"], obs["day"] = np.array([1, 0, -1], dtype=np.int8), np.array([0.0, 1.0, 2.0])
        obs["dose/values"], obs["dose/mask"] = np.array([1, 2, 3]), np.array([False, True, False])
        if components is not None:
            file["obsm/X_pca"] = components
    return path


@pytest.mark.parametrize("sparse", [None, "csr_matrix", "csc_matrix"])
def test_cells_are_read_dense_and_sparse_with_their_annotations(tmp_path, sparse):
    cells = read_points(write_cells(tmp_path / "cells.h5ad", sparse=sparse))
    np.testing.assert_array_equal(cells.points, POINTS)
    assert cells.features == ("g1", "g2") and list(cells.annotations.index) == ["c1", "c2", "c3"]
    assert list(cells.annotations["type"].astype(object).fillna("?")) == ["T", "B", "?"]
    assert list(cells.annotations["day"]) == [0, 1, 2] and list(cells.annotations["dose"].isna()) == [
        False,
        True,
        False,
    ]


def test_principal_components_of_cells_are_preferred_to_their_genes(tmp_path):
    components = np.arange(9.0).reshape(3, 3)
    cells = read_points(write_cells(tmp_path / "cells.h5ad", components=components))
    np.testing.assert_array_equal(cells.points, components)
    assert cells.features == ("PC1", "PC2", "PC3")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros((3, 2)), "b": np.zeros((3, 2))}, "the only one with two axes"),
        ({"X": np.array([[0.0, np.nan]])}, "NaN"),
        ({"X": np.zeros(3)}, "2 axes"),
    ],
)
def test_files_without_points_are_refused_by_name(tmp_path, arrays, words):
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(ValueError, match=rf"p\.npz.*{words}"):
        read_points(tmp_path / "p.npz")
