"""A social network and a table of samples for its members, both downloaded on first use, since the network states no licence.

Row i of the table belongs to vertex i: the setting in which walks over agents with one sample each are compared.
"""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
from sklearn.datasets import load_svmlight_file

from semigroup.data.datasets import Download, download
from semigroup.operators import Graph, as_graph

__all__ = ["IJCNN1", "VOTES", "ijcnn1", "votes"]

_RAW = "https://raw.githubusercontent.com"
_N_ROWS = 5000


def _convert_votes(paths: list[Path]) -> dict[str, np.ndarray]:
    # Named a MatrixMarket file, but one line of heading and pairs that count from one.
    pairs = np.loadtxt(paths[0], dtype=np.int64, skiprows=1) - 1
    edges = np.unique(np.sort(pairs, axis=1), axis=0)
    return {"edges": edges.astype(np.int16), "n_vertices": np.array(edges.max() + 1)}


def _convert_ijcnn1(paths: list[Path]) -> dict[str, np.ndarray]:
    with bz2.open(paths[0]) as file:
        rows, labels = load_svmlight_file(file, n_features=22)
    return {"X": rows[:_N_ROWS].toarray().astype(np.float32), "y": (labels[:_N_ROWS] > 0).astype(np.int8)}


VOTES = Download(
    "srrw/soc-wiki-vote-889.npz",
    {
        f"{_RAW}/LucasPepper/complex-networks/c4a765fba2225774d1aa89bb11b64713e31197b5/soc-wiki-Vote.mtx": (
            "0190c96668c1ed2dd19122543217e03532618a409bb3e6c9f30568eae33c5297"
        )
    },
    _convert_votes,
)
IJCNN1 = Download(
    "srrw/ijcnn1-train-first5000.npz",
    {
        f"{_RAW}/X-DataInitiative/tick-datasets/82c320e4fa41d4ea53f2028ae165eebd64aa3b89/binary/ijcnn1/ijcnn1.trn.bz2": (
            "b38a4198ce142d43e96fb86d17b87211feec1f909ac344fa057455c69de29de3"
        )
    },
    _convert_ijcnn1,
)


def votes() -> Graph:
    """Votes among Wikipedia users without direction, a connected part: 889 vertices, 2914 edges (Network Repository)."""
    return as_graph(download(VOTES)["edges"].astype(np.int64), directed=False)


def ijcnn1(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows (at most 5000) of ijcnn1, 22 features, and their labels -1 and 1 (IJCNN 2001 challenge, LIBSVM)."""
    arrays = download(IJCNN1)
    return arrays["X"][:n_rows].astype(np.float64), np.where(arrays["y"][:n_rows] > 0, 1.0, -1.0)
