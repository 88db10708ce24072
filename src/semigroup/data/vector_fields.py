"""Surfaces and recordings for the regression of vector fields, downloaded from the reference program's repository.

That repository states no licence, so nothing of it comes with the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from semigroup.data.datasets import Download

__all__ = ["BUNNY", "BUNNY_FINE", "EEG"]

_SOURCE = "https://raw.githubusercontent.com/agosztolai/RVGP/fca721826559f268c2af3f420b12ac4383d4787a/examples"
_EEG = f"{_SOURCE}/eeg_example/matlab_post_analysis/mat"


def _convert_obj(raw: list[Path]) -> dict[str, np.ndarray]:
    """Vertices and the first three corners of each face, counted from 0, of a Wavefront file."""
    lines = [line.split() for line in raw[0].read_text().splitlines()]
    vertices = np.array([line[1:4] for line in lines if line[:1] == ["v"]], dtype=np.float64)
    corners = [[word.partition("/")[0] for word in line[1:4]] for line in lines if line[:1] == ["f"]]
    return {"vertices": vertices, "faces": np.array(corners, dtype=np.int32) - 1}


def _convert_eeg(raw: list[Path]) -> dict[str, np.ndarray]:
    """Electrodes, the maps of each subject inside the head, and the reconstruction errors and scores stored by the authors."""
    import h5py

    channels = _simple(raw[0])["rsf_Chanlocs"]
    maps, errors = _simple(raw[1])["ClusterRawData"], _simple(raw[2])["reconError"]
    inside = np.isfinite(maps["SS"][0]).all(axis=2)
    arrays = {
        "channel_xyz": np.array([[channel[axis] for axis in "XYZ"] for channel in channels], dtype=np.float64),
        "channel_labels": np.array([channel["labels"] for channel in channels]),
        "method_names": np.array(["ground", "spline", "rvgp", "linear"]),
        "map_mask": inside,
    }
    for name, key in (("ss_maps", "SS"), ("ca_maps", "CA")):
        arrays[name] = np.stack([one[inside].T for one in maps[key]]).astype(np.float32)
    for quantity in ("divergence", "curl"):
        for method in ("spline", "rvgp", "linear"):
            arrays[f"recon_{quantity}_{method}"] = np.asarray(errors[quantity][method], dtype=np.float64).ravel()
    with h5py.File(raw[3]) as file:
        results = [file[reference] for reference in file["SVMResults"][0]]
        arrays["svm_auc"] = np.stack([result["AUC"][0] for result in results])
        arrays["svm_accuracy"] = np.stack([result["Accuracy"][()].T for result in results])
    return arrays


def _simple(path: Path) -> dict[str, Any]:
    return scipy.io.loadmat(path, simplify_cells=True)


BUNNY = Download(
    name="rvgp/bunny.npz",
    files={f"{_SOURCE}/data/bunny.obj": "c93e4a6fc6423194ff8b24de372d0a0632264290302a11d391f832313a0d55ef"},
    convert=_convert_obj,
)
"""The Stanford bunny in 2503 vertices (m): `vertices` (2503, 3), `faces` (4968, 3)."""

BUNNY_FINE = Download(
    name="rvgp/bunny_fine.npz",
    files={f"{_SOURCE}/data/bunny_fine.obj": "e1e52a67c809f48d47a2571f3abfeae32463de8938be2b38eb3fbd6670ae1479"},
    convert=_convert_obj,
)
"""The Stanford bunny in 14 944 vertices (m): `vertices`, `faces`."""

EEG = Download(
    name="rvgp/eeg.npz",
    files={
        f"{_EEG}/rsf_chanlocs.mat": "e3b31088ae486dca766aa160568028637059e415a158d6a23af39e414bee51b6",
        f"{_EEG}/ClusterRawData.mat": "7ac0978a25de55537222acc244591e173716419cbfb6d6ac5ab2406107d9c7be",
        f"{_EEG}/reconError.mat": "316566b691f81b1b263d694bd8cae4382e1eeb988a78e0b5c240f7f1daf00943",
        f"{_EEG}/SVMResults.mat": "b509172d3820c3391266b1dbe05a45cb562bfab710a1f8c4b8fdcee4f4565acb",
    },
    convert=_convert_eeg,
)
"""Electrodes of a 256-channel net in cm (`channel_xyz`), and of 61 subjects the time-averaged divergence (`ss_maps`) and curl
(`ca_maps`) of the phase flow inside the head (`map_mask`), from all channels and from three reconstructions of a low-density
montage (`method_names`); the authors' reconstruction errors (`recon_<quantity>_<method>`) and classification scores (`svm_auc`,
`svm_accuracy`)."""
