"""Residual DMD beside PyDMD and deeptime: which eigenvalues they return, and what residuals and pseudospectra cost.

    pip install 'semigroup[peers]'
    python benchmarks/bench_koopman.py

Everybody gets the same real dictionary and the same snapshot pairs, on one thread. The first table judges: systems
whose spectrum is known, the fraction of the returned eigenvalues that are farther than 0.1 from it, and how far the
farthest true point is from any of them (a method that returns nothing is not wrong, but of no use). The second and the
third are on residuals, which no peer computes, so that ours stand beside the ways to get them by hand: a singular value
decomposition for each point of a pseudospectrum, and the reference formulation, the least eigenvalue of L - zA* -
conj(z)A + |z|². These are timed at a sample of the points and scaled up. PyDMD's EDMD works on the kernel of the pairs,
of the size of their number; on the large case its DMD on the dictionary's values stands in, which is the same operator.
Where PyDMD's EDMD differs from deeptime's, the dictionary's Gram matrix has equal eigenvalues: PyDMD takes its
eigenvectors from `numpy.linalg.eig`, which then are not orthogonal.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from semigroup.data.dynamical_systems import (
    KnownSpectrum,
    SnapshotPairs,
    cat_map,
    disc_map,
    doubling_map,
    duffing,
    rotation,
)
from semigroup.dynamics.koopman import (
    CompressedOperator,
    Fourier,
    RadialBasis,
    compress,
    kmeans_centres,
    pair_residuals,
)

__all__ = ["main"]

FAR = 0.1
Basis = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """Pairs of a system of known spectrum, and a real dictionary."""

    name: str
    pairs: SnapshotPairs
    basis: Basis


def real_waves(wave_numbers: np.ndarray, period: float) -> Basis:
    """Cosines and sines; the constant has no sine."""
    waves = Fourier(wave_numbers, period)
    moving = np.any(wave_numbers != 0, axis=1)

    def basis(X: np.ndarray) -> np.ndarray:
        values = waves(X)
        return np.hstack([values.real, values.imag[:, moving]])

    return basis


def disc_basis(X: np.ndarray) -> np.ndarray:
    """Legendre polynomials of the squared radius times cosines and sines of the angle."""
    radial = np.polynomial.legendre.legvander(2 * X[:, 0] ** 2 - 1, 5)
    angular = real_waves(np.arange(7)[:, None], 2 * np.pi)(X[:, 1:])
    return (radial[:, :, None] * angular[:, None, :]).reshape(len(X), -1)


def make_cases() -> list[Case]:
    """Five systems."""
    small = np.array([(a, b) for a in range(-3, 4) for b in range(-3, 4) if (a, b) >= (0, 0)])
    undamped = duffing(400, 5, random_state=0)
    free = SnapshotPairs(undamped.X, undamped.Y, KnownSpectrum())
    centres = kmeans_centres(undamped.X, 100, np.random.default_rng(0))
    spread = float(np.linalg.norm(undamped.X - undamped.X.mean(axis=0), axis=1).mean())
    turn = rotation(1000, angle=float(np.sqrt(2)), order=None)
    return [
        Case("doubling map", doubling_map(2048), real_waves(2 ** np.arange(9)[:, None], 1.0)),
        Case("rotation by √2", turn, real_waves(np.arange(40)[:, None], 2 * np.pi)),
        Case("cat map", cat_map(40), real_waves(small, 1.0)),
        Case("twisted disc", disc_map(2000, amplitude=0.05, random_state=0), disc_basis),
        Case("Duffing, undamped", free, RadialBasis(centres, spread / 2)),
    ]


# --- what is returned --------------------------------------------------------------------------------------------


def pydmd_edmd(psi_x: np.ndarray, psi_y: np.ndarray) -> np.ndarray:
    """PyDMD's kernelised EDMD with the linear kernel on the dictionary's values."""
    from pydmd import EDMD

    # A rank by energy stands for the rank of the dictionary: untruncated, it divides by rounding errors.
    rank = int(np.linalg.matrix_rank(psi_x))
    model = EDMD(svd_rank=rank, kernel_metric="linear").fit(psi_x.T, psi_y.T)
    return np.asarray(model.eigs)


def pydmd_dmd(psi_x: np.ndarray, psi_y: np.ndarray) -> np.ndarray:
    """PyDMD's DMD on the dictionary's values."""
    from pydmd import DMD

    return np.asarray(DMD(svd_rank=-1).fit(psi_x.T, psi_y.T).eigs)


def deeptime_edmd(psi_x: np.ndarray, psi_y: np.ndarray) -> np.ndarray:
    """deeptime's EDMD; its basis is the identity, for it is given the dictionary's values."""
    from deeptime.decomposition import EDMD

    return np.asarray(EDMD(lambda values: values).fit((psi_x, psi_y)).fetch_model().eigenvalues)


def ours(psi_x: np.ndarray, psi_y: np.ndarray) -> CompressedOperator:
    return CompressedOperator.from_pairs(psi_x, psi_y)


PEERS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "PyDMD EDMD": ("pydmd", pydmd_edmd),
    "deeptime EDMD": ("deeptime", deeptime_edmd),
}


def judge(values: np.ndarray, known: KnownSpectrum) -> str:
    """How many, how many of them far off, and how much of the spectrum they miss."""
    if len(values) == 0:
        return f"{0:9d}{'':>12}{'':>12}{'all':>14}"
    distance = known.distance(values)
    missed = max(float(np.abs(point - values).min()) for point in known.sample(360))
    return f"{len(values):9d}{(distance > FAR).mean():12.3f}{distance.max():12.3f}{missed:14.3f}"


def what_is_returned() -> None:
    """First table."""
    for case in make_cases():
        psi_x, psi_y = case.basis(case.pairs.X), case.basis(case.pairs.Y)
        known = case.pairs.spectrum
        assert known is not None
        print(f"\n{case.name}: {psi_x.shape[1]} functions, {len(psi_x)} pairs")
        print(f"  {'':<34}{'returned':>9}{'far (>0.1)':>12}{'farthest':>12}{'misses by':>14}")
        for name, (module, solve) in PEERS.items():
            if importlib.util.find_spec(module) is None:
                print(f"  {name:<34} not installed")
                continue
            print(f"  {name:<34}{judge(solve(psi_x, psi_y), known)}")
        operator = ours(psi_x, psi_y)
        spectrum = operator.eigenpairs()
        certified = operator.certified_spectrum("grid", spacing=0.05, radius=1.3)
        print(f"  {'ours, all eigenpairs':<34}{judge(spectrum.eigenvalues, known)}")
        print(f"  {'ours, eigenpairs of residual <0.1':<34}{judge(spectrum.within(FAR).eigenvalues, known)}")
        print(f"  {'ours, certified points of a grid':<34}{judge(certified.eigenvalues, known)}", end="")
        print(f"   certificate {certified.certificate:.3f}")


# --- what it costs -----------------------------------------------------------------------------------------------


def clock(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least time of a few runs, and the last answer."""
    least = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        answer = work()
        least = min(least, time.perf_counter() - began)
    return least, answer


def line(name: str, seconds: float, base: float, quality: str = "") -> None:
    """One row: a time, how many times ours it is, and how good the answer."""
    print(f"  {name:<50}{seconds:>10.3f} s{seconds / base:>9.2f} x   {quality}", flush=True)


def by_svd(operator: CompressedOperator, z: np.ndarray) -> np.ndarray:
    """A singular value decomposition a point."""
    identity = np.eye(operator.rank)
    return np.array(
        [scipy.linalg.svdvals(np.vstack([operator.compression - point * identity, operator.defect]))[-1] for point in z]
    )


def by_squares(operator: CompressedOperator, z: np.ndarray) -> np.ndarray:
    """The reference formulation: the least eigenvalue of a Hermitian matrix a point, and its root."""
    A, identity = operator.compression, np.eye(operator.rank)
    L = A.conj().T @ A + operator.defect.conj().T @ operator.defect
    least = [
        scipy.linalg.eigh(
            L - point * A.conj().T - np.conj(point) * A + abs(point) ** 2 * identity,
            eigvals_only=True,
            subset_by_index=[0, 0],
        )[0]
        for point in z
    ]
    return np.sqrt(np.maximum(least, 0))


def what_it_costs(n_functions: int, n_pairs: int, n_points: int, n_sampled: int) -> None:
    """Second table: Duffing's oscillator."""
    pairs = duffing(n_pairs // 5, 5, random_state=0)
    centres = kmeans_centres(pairs.X, n_functions, np.random.default_rng(0))
    spread = float(np.linalg.norm(pairs.X - pairs.X.mean(axis=0), axis=1).mean())
    basis = RadialBasis(centres, spread / 2)
    psi_x, psi_y = basis(pairs.X), basis(pairs.Y)
    print(f"\nDuffing, undamped: {n_functions} functions, {len(psi_x)} pairs; times, and as multiples of ours")

    def fit() -> tuple[CompressedOperator, Any]:
        operator = ours(psi_x, psi_y)
        return operator, operator.eigenpairs()

    fit_seconds, (operator, spectrum) = clock(fit)
    print(" fit, from the dictionary's values to all eigenvalues")
    line(
        "ours (with all residuals)",
        fit_seconds,
        fit_seconds,
        f"condition of the dictionary {np.linalg.cond(psi_x):.0e}",
    )
    for name, module, solve in (
        ("PyDMD DMD on the values (no residuals)", "pydmd", pydmd_dmd),
        ("deeptime EDMD (no residuals)", "deeptime", deeptime_edmd),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"  {name:<50} not installed")
            continue
        seconds, values = clock(lambda solve=solve: solve(psi_x, psi_y))
        gap = max(float(np.abs(value - spectrum.eigenvalues).min()) for value in values)
        line(name, seconds, fit_seconds, f"farthest from ours {gap:.0e}")

    print(f" residuals of {len(spectrum)} eigenpairs over all pairs")
    weights = np.full(len(psi_x), 1 / len(psi_x))
    seconds, residuals = clock(lambda: pair_residuals(psi_x, psi_y, spectrum))
    line("ours, from the snapshots", seconds, seconds)

    def loop() -> np.ndarray:
        pieces = zip(spectrum.vectors.T, spectrum.eigenvalues)
        return np.array(
            [np.linalg.norm(psi_y @ v - value * (psi_x @ v)) / np.linalg.norm(psi_x @ v) for v, value in pieces]
        )

    def squared() -> np.ndarray:
        G, A, L = (a.T * weights @ b for a, b in ((psi_x, psi_x), (psi_x, psi_y), (psi_y, psi_y)))
        V, values = spectrum.vectors, spectrum.eigenvalues
        g, a, b = ((V.conj() * (matrix @ V)).sum(axis=0) for matrix in (G, A, L))
        form = (b - values.conj() * a - values * a.conj() + np.abs(values) ** 2 * g).real / g.real
        return np.sqrt(np.maximum(form, 0))

    for name, work in (
        ("one pair after another", loop),
        ("reference formulation (G, A, L from the snapshots)", squared),
    ):
        taken, answer = clock(work, 1)
        line(name, taken, seconds, f"largest difference {np.abs(answer - residuals).max():.0e}")
    taken, answer = clock(operator.eigenpairs)
    line(
        "ours, with the eigenpairs, from the fitted operator",
        taken,
        seconds,
        f"{np.abs(answer.residuals - residuals).max():.0e}",
    )

    print(f" pseudospectrum, {n_points} x {n_points} points of [-1.5, 1.5]², real dictionary: half of them by symmetry")
    base, portrait = clock(lambda: operator.pseudospectrum(n_points), 1)
    line("ours", base, base)
    upper = portrait.points.imag >= 0
    generator = np.random.default_rng(0)
    chosen = generator.choice(int(upper.sum()), min(n_sampled, int(upper.sum())), replace=False)
    z, ours_there = portrait.points[upper][chosen], portrait.residuals[upper][chosen]
    for name, method in (("a singular value decomposition a point", by_svd), ("reference formulation", by_squares)):
        taken, answer = clock(lambda method=method: method(operator, z), 1)
        line(
            f"{name} (from {len(z)} points)",
            taken * int(upper.sum()) / len(z),
            base,
            f"largest difference {np.abs(answer - ours_there).max():.0e}",
        )


def how_exact(n_functions: int) -> None:
    """Third table: residuals known in closed form."""
    pairs = rotation(4 * n_functions)
    operator = compress(Fourier.up_to(n_functions // 2, 1, 2 * np.pi), pairs.X, pairs.Y)
    z = np.exp(2j * np.pi / 5) * np.array([1, 1 + 1e-10, 1 + 1e-6, 1 + 1e-3, 1.1])
    exact = np.abs(np.abs(z) - 1)
    print(f"\nRotation by a fifth, {operator.rank} functions: error of the residual at distance d from an eigenvalue")
    print(f"  {'d':<24}" + "".join(f"{d:>12.0e}" for d in (0, 1e-10, 1e-6, 1e-3, 0.1)))
    for name, method in (
        ("ours", lambda operator, z: operator.residual(z)),
        ("singular values", by_svd),
        ("reference formulation", by_squares),
    ):
        print(f"  {name:<24}" + "".join(f"{error:>12.0e}" for error in np.abs(method(operator, z) - exact)))


def main(arguments: list[str] | None = None) -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=60, help="points a side of the pseudospectrum")
    parser.add_argument("--sampled", type=int, default=60, help="points at which the slow ways are timed")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="pydmd")
    with threadpool_limits(1):
        what_is_returned()
        how_exact(100)
        what_it_costs(options.functions, options.pairs, options.points, options.sampled)


if __name__ == "__main__":
    main()
