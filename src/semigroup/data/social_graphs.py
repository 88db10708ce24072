"""Two social networks of SNAP that are downloaded on first use, since their sources state no licence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from semigroup.data.datasets import Download, download

__all__ = ["EPINIONS", "WIKI_VOTE", "epinions", "wiki_vote"]

_RAW = "https://raw.githubusercontent.com"


def _edges(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Distinct node ids in increasing order, and the ends of the edges as their numbers."""
    ends = np.loadtxt(path, dtype=np.int64, comments="#")
    ids, numbers = np.unique(ends, return_inverse=True)
    return ids, numbers.reshape(ends.shape)


def _csr(ends: np.ndarray, n: int) -> sp.csr_array:
    matrix = sp.csr_array(sp.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n)))
    matrix.sum_duplicates()
    return matrix


def _convert_votes(paths: list[Path]) -> dict[str, np.ndarray]:
    ids, ends = _edges(paths[0])
    matrix = _csr(ends, len(ids))
    return {
        "indptr": matrix.indptr.astype(np.int32),
        "indices": matrix.indices.astype(np.uint16),
        "original_ids": ids.astype(np.int32),
    }


def _convert_trust(paths: list[Path]) -> dict[str, np.ndarray]:
    ids, ends = _edges(paths[0])
    matrix = _csr(np.sort(ends, axis=1), len(ids))
    return {"indptr": matrix.indptr.astype(np.int32), "indices": matrix.indices.astype(np.int32)}


WIKI_VOTE = Download(
    "powerwalk/wiki-vote.npz",
    {
        f"{_RAW}/perfectstorm88/graph_machine_learning_homework/4905990a88c652d2877581396d1ff84cc9d7d138/wiki-Vote.txt": (
            "b05c0226f5544f0e4a8ac607ae573db42e42716b6dd5aa00e8c769a1219c796f"
        )
    },
    _convert_votes,
)
EPINIONS = Download(
    "powerwalk/soc-epinions1-undirected.npz",
    {
        f"{_RAW}/adriacabeza/GraphClustering/324f87df38afbbd9ac959c9bd3468770e0835e61/data/soc-Epinions1.txt": (
            "9d555a4900127b0eb656c2c723b9062941c3a082142716bee54bd7042b0f89d6"
        )
    },
    _convert_trust,
)


def wiki_vote() -> sp.csr_array:
    """Who voted on whom becoming a Wikipedia administrator: directed, 7115 vertices, 103689 edges, 1005 sinks.

    J. Leskovec, D. Huttenlocher and J. Kleinberg, Signed networks in social media, CHI 2010.
    """
    return _from_arrays(download(WIKI_VOTE))


def epinions() -> sp.csr_array:
    """Who trusts whom on epinions.com, without direction: 75877 vertices, 405739 edges, no isolated vertex.

    M. Richardson, R. Agrawal and P. Domingos, Trust management for the semantic web, ISWC 2003.
    """
    upper = _from_arrays(download(EPINIONS))
    return sp.csr_array(upper + upper.T)


def _from_arrays(arrays: dict[str, np.ndarray]) -> sp.csr_array:
    indices = arrays["indices"].astype(np.int32)
    n = len(arrays["indptr"]) - 1
    return sp.csr_array((np.ones(len(indices)), indices, arrays["indptr"]), shape=(n, n))
