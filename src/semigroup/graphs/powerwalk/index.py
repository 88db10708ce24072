"""The index: shards that are built anywhere, one set of memory-mapped arrays in the end."""

import json
import shutil
import typing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
from jaxtyping import Int

from semigroup.base import atomic_folder
from semigroup.graphs.powerwalk.walks import Estimate, Fingerprints, Transitions, Walks, sample_fingerprints

__all__ = ["Settings", "build_index", "open_folder"]


@dataclass(frozen=True)
class Settings:
    """What an index was built with: two indices with equal settings are equal bit by bit."""

    graph: str
    n_nodes: int
    alpha: float
    dangling: str
    walks: str
    estimate: str
    n_walks: int
    max_length: int | None
    max_entries: int | None
    min_in_degree: int
    seed: int
    shard_size: int


def open_folder(folder: Path, settings: Settings, *, any_seed: bool) -> Settings:
    """Claim an empty index folder for these settings, or check that it was claimed for the same.

    Returns
    -------
    Settings
        Those of the folder; without a seed of one's own, the folder's seed and shards are as good as any.
    """
    claim = folder / "settings.json"
    if not claim.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = claim.with_suffix(".partial")
        unfinished.write_text(json.dumps(asdict(settings), indent=2))
        unfinished.replace(claim)
        return settings
    stored = Settings(**json.loads(claim.read_text()))
    if stored.graph != settings.graph:
        raise ValueError(f"index_dir {str(folder)!r} holds the index of another graph; choose another folder")
    for name, value in asdict(settings).items():
        # The graph with loops at its sinks is another graph; the other policies share the index.
        free = name in ("shard_size", "dangling") or (name == "seed" and any_seed)
        if not free and getattr(stored, name) != value:
            raise ValueError(
                f"index_dir {str(folder)!r} holds an index with {'random_state' if name == 'seed' else name} = "
                f"{getattr(stored, name)}, and this estimator has {value}; choose another folder"
            )
    return replace(stored, dangling=settings.dangling)


def _build_shard(
    transitions: Transitions | str,
    settings: Settings,
    in_degree: Int[np.ndarray, " n"] | None,
    device: str,
    number: int,
    folder: str | None,
) -> tuple[int, Fingerprints | None]:
    """Sample one shard; written to `folder` under a temporary name and renamed, or returned where there is none."""
    if isinstance(transitions, str):
        transitions = Transitions.load(Path(transitions))
    first = number * settings.shard_size
    sample = sample_fingerprints
    if device != "cpu":
        from semigroup.graphs.powerwalk.device import sample_fingerprints_on_device

        sample = partial(sample_fingerprints_on_device, device=device)
    rows = sample(
        transitions,
        np.arange(first, min(first + settings.shard_size, settings.n_nodes)),
        alpha=settings.alpha,
        n_walks=settings.n_walks,
        walks=typing.cast(Walks, settings.walks),
        estimate=typing.cast(Estimate, settings.estimate),
        max_length=settings.max_length,
        max_entries=settings.max_entries,
        min_in_degree=settings.min_in_degree,
        in_degree=in_degree,
        seed=settings.seed,
    )
    if folder is None:
        return number, rows
    with atomic_folder(Path(folder) / f"{number:06d}") as work:
        rows.save(work)
    return number, None


def build_index(
    transitions: Transitions, settings: Settings, folder: Path | None, n_jobs: int | None, device: str, progress: bool
) -> Fingerprints:
    """All shards through `joblib.Parallel`; a shard whose worker dies is built again, the finished ones stay."""
    n_shards = -(-settings.n_nodes // settings.shard_size)
    in_degree = np.bincount(transitions.indices, minlength=settings.n_nodes) if settings.min_in_degree > 0 else None
    built: dict[int, Fingerprints | None] = {}
    graph: Transitions | str = transitions
    shards = None
    if folder is not None:
        shards = folder / "shards"
        shards.mkdir(exist_ok=True)
        graph = str(folder / "graph")  # workers of another process map it instead of receiving a copy
        if not (folder / "graph").exists():
            with atomic_folder(graph) as work:
                transitions.save(work)
        built = {number: None for number in range(n_shards) if (shards / f"{number:06d}").exists()}
    n_failures = 0
    with _progress(n_shards, progress) as show:
        while len(built) < n_shards:
            missing = [number for number in range(n_shards) if number not in built]
            tasks = (
                joblib.delayed(_build_shard)(
                    graph, settings, in_degree, device, number, None if shards is None else str(shards)
                )
                for number in missing
            )
            parallel = _CountingParallel(n_jobs=n_jobs, prefer="threads")
            parallel.report, parallel.n_before = show, len(built)
            try:
                built |= dict(parallel(tasks))
            except Exception as error:
                if not _lost_a_worker(error):
                    raise
                finished = [number for number in missing if shards and (shards / f"{number:06d}").exists()]
                built |= dict.fromkeys(finished)
                n_failures = 0 if finished else n_failures + 1
                if n_failures == 3:
                    raise
    if folder is None or shards is None:
        return _concatenate([typing.cast(Fingerprints, built[number]) for number in range(n_shards)])
    _merge([shards / f"{number:06d}" for number in range(n_shards)], folder / "fingerprints")
    shutil.rmtree(shards)
    return Fingerprints.load(folder / "fingerprints")


def _lost_a_worker(error: Exception) -> bool:
    """Whether a worker process or its machine died, rather than the work having failed in it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, BrokenProcessPool) or bool(
        names & {"RayActorError", "WorkerCrashedError", "NodeDiedError", "ObjectLostError"}
    )


def _concatenate(parts: Sequence[Fingerprints]) -> Fingerprints:
    """Shards one below the other."""
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    return Fingerprints(
        np.concatenate(([0], np.cumsum(lengths))),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.dropped for part in parts]),
    )


def _merge(shards: list[Path], folder: Path) -> None:
    """The same on disk, one shard in memory at a time."""
    parts = [Fingerprints.load(shard) for shard in shards]
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    with atomic_folder(folder) as work:
        np.save(work / "indptr.npy", np.concatenate(([0], np.cumsum(lengths))))
        np.save(work / "dropped.npy", np.concatenate([part.dropped for part in parts]))
        for name, dtype in (("indices", np.int32), ("values", np.float32)):
            whole = np.lib.format.open_memmap(work / f"{name}.npy", mode="w+", dtype=dtype, shape=(int(lengths.sum()),))
            end = 0
            for part in parts:
                piece = getattr(part, name)
                whole[end : end + len(piece)] = piece
                end += len(piece)
            whole.flush()


class _CountingParallel(joblib.Parallel):
    """Tells how many tasks are done, whatever the backend."""

    report: Callable[[int], None]
    n_before: int

    def print_progress(self) -> None:
        """Called by joblib after each batch of tasks."""
        self.report(self.n_before + self.n_completed_tasks)


@contextmanager
def _progress(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar over shards, or nothing; gives the function that sets it."""
    if not show:
        yield lambda done: None
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task("fingerprints", total=total)
        yield lambda done: bar.update(task, completed=done)
