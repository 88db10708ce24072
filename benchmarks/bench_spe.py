"""SPE beside PyTorch Geometric's positional encodings, on molecules: same network, same budget, one run.

The peers are what users pick by default: ``AddLaplacianEigenvectorPE`` (with random signs in training) and ``AddRandomWalkPE``.
All go through the same GINE network with the same training; measured are the error on test molecules, the preprocessing and
the time of a training step. A second table compares the preprocessing alone: eigenpairs of the whole list of graphs at once
here, one graph at a time there. Times are seconds of one core's work (one thread), so that whatever else runs on the machine
does not count.

    python benchmarks/bench_spe.py --n-train 1000 --n-epochs 16
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE, AddRandomWalkPE

from semigroup.base import seed_from
from semigroup.data.graph_sets import GraphSet
from semigroup.data.molecules import zinc_7k
from semigroup.graphs import SPE, RawEigenvectors, laplacian_eigenpairs
from semigroup.graphs.spe import GraphNetwork, PositionalEncoder
from semigroup.graphs.spe.spectrum import with_eigenpairs
from semigroup.training import EpochSampler, train, warmup_then_linear

WIDTH = 24
N_EIGENVECTORS = 8
N_STEPS_OF_WALK = 16


class Precomputed(PositionalEncoder):
    """Node features that a PyG transform has computed, as they are."""

    def __init__(self, out_dim: int) -> None:
        super().__init__()
        self.out_dim = out_dim

    def encode(self, graphs: GraphSet) -> Tensor:
        assert graphs.eigenvectors is not None
        return graphs.eigenvectors


def as_pyg(graphs: GraphSet) -> list[Data]:
    """The graphs as PyG's own objects."""
    edges = (graphs.edge_index - graphs.node_start[graphs.batch[graphs.edge_index[0]]]).split(
        graphs.n_edges.tolist(), dim=1
    )
    return [Data(edge_index=e, num_nodes=n) for e, n in zip(edges, graphs.n_nodes.tolist())]


def prepare(name: str, graphs: GraphSet, data: list[Data]) -> tuple[GraphSet, float]:
    """The graphs with what the encoding needs, and the seconds that took."""
    began = time.process_time()
    if name == "SPE":
        return with_eigenpairs(graphs, None), time.process_time() - began
    if name == "none":
        return graphs, 0.0
    columns = N_EIGENVECTORS if name == "PyG eigenvectors" else N_STEPS_OF_WALK
    if name == "PyG eigenvectors":
        transform = AddLaplacianEigenvectorPE(N_EIGENVECTORS, attr_name="pe", is_undirected=True)
    else:
        transform = AddRandomWalkPE(N_STEPS_OF_WALK, attr_name="pe")
    rows = []
    for one in data:
        # PyG has no padding (its issue 5646 and DGL's 4628): a molecule of at most k atoms gets the columns it has.
        if name == "PyG eigenvectors" and one.num_nodes <= N_EIGENVECTORS:
            fewer = AddLaplacianEigenvectorPE(one.num_nodes - 1, attr_name="pe", is_undirected=True)
            found = fewer(one.clone()).pe
            rows.append(nn.functional.pad(found, (0, N_EIGENVECTORS - found.shape[1])))
        else:
            rows.append(transform(one.clone()).pe)
    pe = torch.cat(rows).float()
    seconds = time.process_time() - began
    return replace(graphs, eigenvectors=pe, eigenvalues=torch.zeros(len(graphs), columns)), seconds


def encoder_of(name: str) -> PositionalEncoder | None:
    """The part that differs."""
    if name == "SPE":
        return SPE(16, n_channels=8, hidden_dim=WIDTH, rho_layers=2, mlp_layers=2)
    if name == "PyG eigenvectors":
        return RawEigenvectors(N_EIGENVECTORS)  # PyG's vectors, their signs flipped at random in training
    return Precomputed(N_STEPS_OF_WALK) if name == "PyG random walks" else None


def measure(name: str, n_train: int, n_test: int, n_epochs: int, seed: int) -> dict[str, float]:
    """Error, preprocessing and step time of one encoding."""
    molecules = zinc_7k()
    parts = [np.flatnonzero(molecules.split == part)[:n] for part, n in ((0, n_train), (2, n_test))]
    graphs = molecules.graphs.select(np.concatenate(parts))
    y = torch.from_numpy(molecules.y[np.concatenate(parts)]).float()
    prepared, preprocessing = prepare(name, graphs, as_pyg(graphs))
    training, test = prepared.select(range(n_train)), prepared.select(range(n_train, len(prepared)))
    mean, std = y[:n_train].mean(), y[:n_train].std()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GraphNetwork(
            encoder_of(name),
            1,
            hidden_dim=WIDTH,
            n_layers=4,
            node_types=list(graphs.node_types or ()),
            edge_types=list(graphs.edge_types or ()),
            mlp_layers=2,
        )
        sampler = EpochSampler(n_train, 32, seed_from(seed))

        def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
            index = sampler(step)
            return (model(training.select(index))[:, 0] - (y[index] - mean) / std).abs().mean()

        network.train()
        loss(network, 0, torch.Generator()).backward()  # warm-up
        network.zero_grad()
        n_steps = n_epochs * sampler.batches_per_epoch
        began = time.process_time()
        train(
            network,
            loss,
            n_steps=n_steps,
            optimizer=torch.optim.Adam(network.parameters(), lr=3e-3, fused=True),
            schedule=warmup_then_linear(n_steps // 10, n_steps),
            seed=seed,
            device="cpu",
        )
        step = (time.process_time() - began) / n_steps
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(test.select(part))[:, 0] for part in torch.arange(n_test).split(128)])
    error = float((predicted * std + mean - y[n_train:]).abs().mean())
    return {"error": error, "preprocessing": preprocessing, "step": step}


def compare_preprocessing(n_graphs: int) -> tuple[float, float]:
    """Seconds for eigenpairs of a list of graphs: all at once here, one by one in PyG."""
    graphs = zinc_7k().graphs.select(range(n_graphs))
    data = as_pyg(graphs)
    transform = AddLaplacianEigenvectorPE(N_EIGENVECTORS, attr_name="pe", is_undirected=True)
    large = [one for one in data if one.num_nodes > N_EIGENVECTORS]
    laplacian_eigenpairs(graphs.select(range(10)), N_EIGENVECTORS)
    transform(large[0].clone())
    began = time.process_time()
    laplacian_eigenpairs(graphs, N_EIGENVECTORS)
    ours = time.process_time() - began
    began = time.process_time()
    for one in large:
        transform(one.clone())
    return ours, time.process_time() - began


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-train", type=int, default=1000)
    parser.add_argument("--n-test", type=int, default=1000)
    parser.add_argument("--n-epochs", type=int, default=16)
    parser.add_argument("--n-seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = ("SPE", "PyG random walks", "PyG eigenvectors", "none")
    print(f"{options.n_train} molecules, {options.n_epochs} epochs, width {WIDTH}, {options.n_seeds} seeds")
    print(
        f"{'encoding':<18}{'test MAE':>10}{'± std':>8}{'prepare s':>11}{'step ms':>9}{'MAE / SPE':>11}{'step / SPE':>11}"
    )
    base: dict[str, float] = {}
    for name in names:
        runs = [
            measure(name, options.n_train, options.n_test, options.n_epochs, seed) for seed in range(options.n_seeds)
        ]
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        spread = float(np.std([run["error"] for run in runs], ddof=1)) if len(runs) > 1 else 0.0
        base = base or mean
        print(
            f"{name:<18}{mean['error']:>10.3f}{spread:>8.3f}{mean['preprocessing']:>11.2f}{1e3 * mean['step']:>9.1f}"
            f"{mean['error'] / base['error']:>11.2f}{mean['step'] / base['step']:>11.2f}",
            flush=True,
        )
    ours, theirs = compare_preprocessing(options.n_train)
    print(f"\n{N_EIGENVECTORS} eigenpairs of {options.n_train} molecules: {ours:.3f} s here, {theirs:.3f} s with PyG")
    print(f"ratio PyG / semigroup: {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
