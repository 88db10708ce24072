"""Classified graphs in the text format of the TU Dortmund collection, and three of its toxicity assays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from semigroup.base import check_choice
from semigroup.data.datasets import Download, download
from semigroup.data.graph_sets import GraphSet, as_graph_set

__all__ = ["TOX21", "LabelledGraphs", "read_tu", "tox21"]

TOX21 = ("HSE", "MMP", "PPAR-gamma")
_PARTS = ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels")


@dataclass(frozen=True)
class LabelledGraphs:
    """Graphs with one label each.

    Attributes
    ----------
    graphs : GraphSet
    y : ndarray of shape (graphs,)
    split : ndarray of shape (graphs,) or None
        0 training, 2 test, where the source divides them.
    """

    graphs: GraphSet
    y: np.ndarray
    split: np.ndarray | None = None


def read_tu(path: str | Path) -> LabelledGraphs:
    """Graphs with labels from a folder of the TU collection.

    Parameters
    ----------
    path : path
        A folder that holds ``NAME_A.txt`` (edges, nodes numbered from 1 through all graphs),
        ``NAME_graph_indicator.txt`` (the graph of each node), ``NAME_graph_labels.txt`` and, where there are any,
        ``NAME_node_labels.txt``, ``NAME_node_attributes.txt`` and ``NAME_edge_labels.txt``; or the file ``NAME_A.txt``
        itself.

    Returns
    -------
    LabelledGraphs
        Node features are the labels as they stand, else the attributes. An edge that is listed several times has that
        weight; one that is listed in one direction counts in both. Loops are dropped.

    Raises
    ------
    ValueError
        If a file is missing or holds something else than numbers, lengths do not agree, an edge's end is no node or lies in
        another graph, or a graph has no nodes; names the file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    found = [path] if path.is_file() else sorted(path.glob("*_A.txt"))
    if len(found) != 1 or not found[0].name.endswith("_A.txt"):
        names = ", ".join(file.name for file in found) or "none"
        raise ValueError(f"{path}: needs one file NAME_A.txt with the edges of the graphs, found {names}")
    stem = str(found[0]).removesuffix("A.txt")
    files = {part: Path(f"{stem}{part}.txt") for part in (*_PARTS, "node_attributes")}
    for part in ("graph_indicator", "graph_labels"):
        if not files[part].exists():
            raise ValueError(f"{files[part]}: no such file, which belongs to {found[0].name}")
    return _read_parts({part: file for part, file in files.items() if file.exists()})


def _read_parts(files: dict[str, Path]) -> LabelledGraphs:
    indicator = _numbers(files["graph_indicator"])[:, 0]
    y = _numbers(files["graph_labels"])[:, 0]
    if indicator.min(initial=1) < 1 or indicator.max(initial=0) > len(y):
        raise ValueError(f"{files['graph_indicator']}: must hold numbers 1..{len(y)} of the graphs with a label")
    n_nodes = np.bincount(indicator - 1, minlength=len(y))
    if n_nodes.min(initial=1) == 0:
        raise ValueError(f"{files['graph_indicator']}: graph {n_nodes.argmin() + 1} is empty: it has no nodes")
    n, order = len(indicator), np.argsort(indicator, kind="stable")
    features = None
    if "node_labels" in files:
        features = _numbers(files["node_labels"], n)[order]
    elif "node_attributes" in files:
        features = _numbers(files["node_attributes"], n, np.float64).astype(np.float32)[order]
    ends = _numbers(files["A"], n_columns=2)
    if len(ends) and (ends.min() < 1 or ends.max() > n):
        raise ValueError(f"{files['A']}: must hold node numbers 1..{n}, got {ends.min()} to {ends.max()}")
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    source, target = place[ends - 1].T
    # An edge's weight is how often it is listed, in the direction where that is more often.
    forth, first, count = np.unique(source * n + target, return_index=True, return_counts=True)
    back = forth % n * n + forth // n
    codes, listed, number = np.unique(np.concatenate([forth, back]), return_index=True, return_inverse=True)
    weight = np.zeros(len(codes))
    np.maximum.at(weight, number, np.concatenate([count, count]))
    labels = None
    if "edge_labels" in files:
        labels = torch.from_numpy(_numbers(files["edge_labels"], len(ends))[np.concatenate([first, first])[listed]])
    graphs = GraphSet(
        torch.from_numpy(n_nodes),
        torch.from_numpy(np.stack([codes // n, codes % n])),
        None if features is None else torch.from_numpy(features),
        labels,
        None if (weight == 1).all() else torch.from_numpy(weight),
    )
    return LabelledGraphs(as_graph_set(graphs, str(files["A"])), y)


def _numbers(
    file: Path, n_rows: int | None = None, dtype: type = np.int64, *, n_columns: int | None = None
) -> np.ndarray:
    """The numbers of a text file, separated by commas, shape (rows, columns)."""
    if file.stat().st_size == 0:
        return np.empty((0, n_columns or 1), dtype=dtype)
    try:
        values = pd.read_csv(file, header=None, skipinitialspace=True, dtype=dtype).to_numpy()
    except (ValueError, TypeError) as error:  # a decimal or a word among integers, or rows of different length
        raise ValueError(f"{file}: must hold {'integers' if dtype is np.int64 else 'numbers'}: {error}") from error
    if n_rows is not None and len(values) != n_rows:
        raise ValueError(f"{file}: must have {n_rows} rows, got {len(values)}")
    if n_columns is not None and values.shape[1] != n_columns:
        raise ValueError(f"{file}: must have {n_columns} columns, got {values.shape[1]}")
    return values


# --- three assays of Tox21 ---------------------------------------------------------------------------------------------

_FOLDER = "https://raw.githubusercontent.com/RongrongMa/GLocalKD/1c8c15f4996dd710e8db477b9a8e7ac36f1681a0/dataset"
# SHA-256 of the files of _PARTS, in the order training, testing.
_DIGESTS = {
    "HSE": (
        "7f655bf4a7213be79a66bab217e48e0d9a994131a9e2f86741273a888d207578",
        "41a3f0b2039cbc99ccbf6d37bea714dd300eb819dbbbc3546ae72fecae0cb457",
        "fa4aa1fdaa8f327df2234cf53bdb2c5445b8159a7b06e5aea3d4b52a385e7c29",
        "171a6aa70ce5af55c470c7664576b8ccfed2bdb472bd28a42b9ec4c10d1b8029",
        "1cef6039cbc87c540c0ac9b1456ce1c8b9cc52b2477cd261b23c384491b85d30",
        "51864124c09d1008433216d2c48b462e77451fc58e70aad4a46805b613539a90",
        "72adcc771552d1975ee2663ec96c352e0842df4ab1844bd89654da966d534d8b",
        "bc53f276065460661c58e18ffac56adc570aa2bd1530eeb2b5be7a87601d03e7",
        "51cd4447b6ae8b3c5944449a5f5ad36b1eb667424ec64745fc38c30f78da392d",
        "4fdedd349ac1e54bd24d0f9549897bac09f24dd770bae5284afb9fbcdc0b284d",
    ),
    "MMP": (
        "563a1fd60c62b2907bbc3407bb6f2be51674a6b61e606fd1c0345263a1c75e7f",
        "6b1b10c1a41ede41a040c224b0267b3c2c6a6992258df586153c912aabe85cba",
        "383c2d0a322079b7758f8d8d4ab7c7c69ec9fcc6d4dd0c30a18cb6e64729455b",
        "bcdcb4473186618226c82444b9f932664ad87a5ecb7dfd7534e3f499b15fd04e",
        "854d05e1ce5a8f8d653bd17978682e8be8a775ab4c4a7144c393f96825899640",
        "0b104d530531b85580b2c6eefd58a05adc34254ba84a60bf0073d1ac825ea90e",
        "26d90a3344ccfd748fe4f4bf2032991bd0a4c55ab7afe991aad0aca7f28e9d13",
        "0a2e46bdd2d314da61eaf4d9d1ec0a3eb4eb0215e8d7c6cee0fba507344991ca",
        "40e21ee9667f20bce1937f729a5e12d1bb1291ea42ebf632e61076d5f0c3e96f",
        "255bc76473b3b2519fe7833d883e99e690cd9516986388aa8ebec25c1f54c93d",
    ),
    "PPAR-gamma": (
        "afc120b2dfa3c63bc858175a15b491ed18f12ae1df583cdde4751710e150243c",
        "14b4a373135ecc56100586fa7fddf3f08f9c8a9cb156bfb259ab32d9bb93442e",
        "7d1e632c2ba163e3532bf3b88a0f773490c18ea6f0ea5b014e7ce3cf2fca094b",
        "b7f703304900a0f1cfd6d9f918e95b8baaef75de744fe578780a8765160acc8d",
        "e55c4fdf216fcc286dabbd210fd5ea98e0773596a7e1920ca5d97d0af86fb952",
        "c467e96f8aaf434fa8ad0e34a8409f691701bd1cded5fd3f14b04d739072cddc",
        "cad69615e9b1a0359e52fa1ed605ac1e89be23bca97b96086ccdde2d6a1ce50b",
        "f405134d2acb3c276761ba95006fdfb154314e7c62746462e1aced8ad4a85c8c",
        "beb3a864e98d430d766d9cba5ef6dd6ae88769acda2b25d2d244a7f26124916d",
        "423b5ec89c170f375b3627b8394856c7d5f0d6e2ff8e5e72a7e55700b56136bc",
    ),
}


def tox21(assay: str) -> LabelledGraphs:
    """Molecules tested in an assay of the Tox21 challenge, downloaded on first use; label 1 is active.

    Node features are the elements' numbers in the TU collection; ``split`` is 0 in the challenge's training set and 2
    in its test set, whose molecules are larger and come from elsewhere. The source states no licence.

    Parameters
    ----------
    assay : {"HSE", "MMP", "PPAR-gamma"}
        Heat shock response (5.3 % active), mitochondrial membrane potential (15.6 %), PPAR-γ receptor (2.7 %); 7320 to 8184
        molecules in the training set.
    """
    check_choice(assay, "assay", TOX21)
    names = [f"Tox21_{assay}_{part}" for part in ("training", "testing")]
    urls = [f"{_FOLDER}/{name}/{name}_{part}.txt" for name in names for part in _PARTS]
    arrays = download(Download(f"rqgnn/Tox21_{assay}.npz", dict(zip(urls, _DIGESTS[assay], strict=True)), _join_parts))
    n_nodes, n_edges = (torch.from_numpy(arrays[key].astype(np.int64)) for key in ("n_nodes", "n_edges"))
    start = (n_nodes.cumsum(0) - n_nodes).repeat_interleave(n_edges)
    ends = torch.stack([torch.from_numpy(arrays[key].astype(np.int64)) + start for key in ("edge_src", "edge_dst")])
    types, bonds = (torch.from_numpy(arrays[key].astype(np.int64))[:, None] for key in ("node_label", "edge_label"))
    graphs = GraphSet(n_nodes, torch.cat([ends, ends.flip(0)], dim=1), types, bonds.repeat(2, 1))
    return LabelledGraphs(
        as_graph_set(graphs, f"Tox21 {assay}"), arrays["y"].astype(np.int64), 2 * arrays["official_test"].astype(int)
    )


def _join_parts(paths: list[Path]) -> dict[str, np.ndarray]:
    """Training and test set one after the other, each edge once."""
    parts = [_read_parts(dict(zip(_PARTS, files))) for files in (paths[:5], paths[5:])]
    pieces: dict[str, list[np.ndarray]] = {}
    for number, part in enumerate(parts):
        graphs = part.graphs
        assert graphs.node_features is not None and graphs.edge_features is not None
        owner = graphs.batch[graphs.edge_index[0]]
        source, target = graphs.edge_index - graphs.node_start[owner]
        upper = source < target
        for key, values in (
            ("n_nodes", graphs.n_nodes.to(torch.int16)),
            ("n_edges", (graphs.n_edges // 2).to(torch.int16)),
            ("node_label", graphs.node_features[:, 0].to(torch.uint8)),
            ("edge_src", source[upper].to(torch.uint8)),
            ("edge_dst", target[upper].to(torch.uint8)),
            ("edge_label", graphs.edge_features[upper, 0].to(torch.uint8)),
        ):
            pieces.setdefault(key, []).append(values.numpy())
        pieces.setdefault("y", []).append(part.y.astype(np.int8))
        pieces.setdefault("official_test", []).append(np.full(len(part.y), number, dtype=np.uint8))
    return {key: np.concatenate(values) for key, values in pieces.items()}
