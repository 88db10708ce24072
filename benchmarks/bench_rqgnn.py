"""RQGNN beside its reference formulation and beside PyTorch Geometric's GIN and ChebNet and a Weisfeiler-Lehman kernel machine.

    pip install 'semigroup[peers]'
    python benchmarks/bench_rqgnn.py

Three tables, all on the Tox21 MMP assay (downloaded on first use; not among the paper's ten sets), one thread.

1. An epoch of training. The reference formulation is written here from the paper's formulas: one Chebyshev convolution of PyTorch
   Geometric after the other, node scores graph by graph, pooling by a dense matrix of graphs and nodes, and in every epoch the
   quotients of every graph anew from its dense Laplacian. Both start from the same weights, see the same batches; the losses
   of the first are compared (later, Adam amplifies rounding).
2. The Rayleigh quotients: one sparse product for all graphs, dense matrices graph by graph, eigenvectors graph by graph.
3. Detection: macro-F1 with the threshold 1/2 and with one tuned on validation graphs, AUC, average precision, time of an epoch.
   PyGOD is not here: its detectors judge nodes, and graphs only through means over their nodes.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import time

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import laplacian as normalised_laplacian
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch_geometric.nn import ChebConv

from semigroup.claims.rqgnn import RIVALS, AssayBudget, assay, detection, edges_of
from semigroup.data.graph_sets import GraphSet
from semigroup.graphs import RQGNN, rayleigh_quotients
from semigroup.graphs.rqgnn import RQNetwork, best_threshold, class_balanced_weights, focal_loss
from semigroup.graphs.rqgnn.spectrum import indicators, vocabulary_of

BATCH = 512


class ReferenceFormulation(nn.Module):
    """The network term by term, with the weights of an `RQNetwork`."""

    def __init__(self, network: RQNetwork) -> None:
        super().__init__()
        width, depth, c, _ = network.filters.shape
        self.filters = nn.ModuleList(ChebConv(c, c, depth) for _ in range(width))
        with torch.no_grad():
            for w, convolution in enumerate(self.filters):
                for k, term in enumerate(convolution.lins):
                    term.weight.copy_(network.filters[w, k].T)
        self.rest = network
        network.filters.requires_grad_(False)
        network.filter_bias.requires_grad_(False)

    def forward(self, x: Tensor, edges: Tensor, members: list[Tensor], quotients: Tensor) -> Tensor:
        rest = self.rest
        h = rest.encoder(x)
        filtered = torch.cat([convolution(h, edges) for convolution in self.filters], dim=1)
        h = nn.functional.leaky_relu(rest.mix(filtered))
        h = nn.functional.leaky_relu(rest.mix_again(h))
        directions = rest.steering(quotients)
        scores = torch.cat([h[nodes] @ directions[i] for i, nodes in enumerate(members)])
        membership = torch.zeros(len(members), len(x))
        for i, nodes in enumerate(members):
            membership[i, nodes] = 1.0
        pooled = (membership * scores) @ h
        return rest.head(rest.norm(torch.cat([pooled, rest.rql(quotients)], dim=1)))


def dense_quotient(adjacency: sp.csr_array, features: np.ndarray) -> np.ndarray:
    """diag(XᵀLX) of one graph from dense matrices."""
    operator = normalised_laplacian(adjacency, normed=True)
    operator = operator.toarray() if sp.issparse(operator) else operator
    return np.diag(features.T @ operator @ features)


def one_by_one(graphs: GraphSet) -> tuple[list[sp.csr_array], list[np.ndarray]]:
    """Adjacency matrix and one-hot features of each graph."""
    whole, starts = graphs.adjacency(), np.append(graphs.node_start.numpy(), len(graphs.batch))
    features = indicators(graphs.node_features.numpy(), vocabulary_of(graphs)).toarray()
    pairs = list(itertools.pairwise(starts))
    return [whole[a:b, a:b] for a, b in pairs], [features[a:b] for a, b in pairs]


def compare_epochs(graphs: GraphSet, y: np.ndarray, n_epochs: int) -> None:
    """Time of an epoch in either formulation, from the same weights on the same batches."""
    model = RQGNN(dropout=0.0)
    model.vocabulary_ = vocabulary_of(graphs)
    model.n_features_in_ = c = sum(map(len, model.vocabulary_))
    torch.manual_seed(0)
    ours = RQNetwork(c, dropout=0.0)
    copy = RQNetwork(c, dropout=0.0)
    copy.load_state_dict(ours.state_dict())
    theirs = ReferenceFormulation(copy)
    targets = torch.from_numpy(y)
    weights = torch.tensor(class_balanced_weights(np.bincount(y).tolist(), 0.999))
    batches = [torch.randperm(len(y)) for _ in range(n_epochs)]
    losses: dict[str, list[float]] = {"ours": [], "reference": []}

    def step(optimizer: torch.optim.Optimizer, logits: Tensor, index: Tensor, name: str) -> None:
        loss = focal_loss(logits, targets[index], weights, 1.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[name].append(loss.item())

    began = time.perf_counter()
    prepared = model._prepare(graphs, "graphs")
    preparation = time.perf_counter() - began
    optimizer = torch.optim.Adam(ours.parameters(), lr=5e-3)
    began = time.perf_counter()
    for order in batches:
        for index in order.split(BATCH):
            step(optimizer, ours(prepared.batch(index, torch.device("cpu"))), index, "ours")
    epoch = (time.perf_counter() - began) / n_epochs

    adjacency, features = one_by_one(graphs)
    trained = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=5e-3)
    quotient_seconds = network_seconds = 0.0
    for order in batches:
        for index in order.split(BATCH):
            began = time.perf_counter()
            chosen = index.tolist()
            quotients = np.stack([dense_quotient(adjacency[i], features[i]) for i in chosen])
            quotient_seconds += time.perf_counter() - began
            began = time.perf_counter()
            x = torch.from_numpy(np.concatenate([features[i] for i in chosen])).float()
            sizes = torch.tensor([len(features[i]) for i in chosen])
            members = list(torch.arange(len(x)).split(sizes.tolist()))
            edges = edges_of(prepared.batch(index, torch.device("cpu")))
            step(optimizer, theirs(x, edges, members, torch.from_numpy(quotients).float()), index, "reference")
            network_seconds += time.perf_counter() - began
    network_seconds, quotient_seconds = network_seconds / n_epochs, quotient_seconds / n_epochs
    gap = abs(losses["ours"][0] / losses["reference"][0] - 1)
    print(
        f"An epoch of {len(graphs)} graphs, batches of {BATCH}; losses of the first batch differ by {gap:.1e} relative"
    )
    print(f"{'formulation':<32}{'network s':>11}{'quotients s':>13}{'epoch s':>10}{'ratio':>8}")
    print(f"{'semigroup':<32}{epoch:>11.2f}{'once':>13}{epoch:>10.2f}{1.0:>8.1f}")
    total = network_seconds + quotient_seconds
    print(f"{'reference':<32}{network_seconds:>11.2f}{quotient_seconds:>13.2f}{total:>10.2f}{total / epoch:>8.1f}")
    print(
        f"network alone: ratio {network_seconds / epoch:.1f}; semigroup's preparation, once a fit: {preparation:.2f} s\n"
    )


def compare_quotients(graphs: GraphSet) -> None:
    """Time of all quotients: one product, dense matrices, eigenvectors."""
    adjacency, features = one_by_one(graphs)
    began = time.perf_counter()
    found = rayleigh_quotients(graphs, normalize=False)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    dense = np.stack([dense_quotient(a, x) for a, x in zip(adjacency, features)])
    by_dense = time.perf_counter() - began
    began = time.perf_counter()
    spectral = []
    for a, x in zip(adjacency, features):
        values, vectors = np.linalg.eigh(normalised_laplacian(a, normed=True).toarray())
        spectral.append(values @ np.square(vectors.T @ x))
    by_vectors = time.perf_counter() - began
    print(f"Rayleigh quotients of {len(graphs)} graphs, {found.shape[1]} node types")
    print(f"{'by':<32}{'seconds':>11}{'ratio':>8}{'largest difference':>21}")
    print(f"{'one sparse product':<32}{ours:>11.3f}{1.0:>8.1f}")
    for name, seconds, other in (("dense matrices", by_dense, dense), ("eigenvectors", by_vectors, np.stack(spectral))):
        print(f"{name:<32}{seconds:>11.3f}{seconds / ours:>8.1f}{np.abs(other - found).max():>21.1e}")
    print()


def weisfeiler_lehman(seed: int) -> dict[str, float]:
    """A support vector machine with balanced classes on the Weisfeiler-Lehman kernel of grakel."""
    from grakel import Graph, WeisfeilerLehman
    from sklearn.svm import SVC

    data = assay("MMP")
    train, rest = train_test_split(np.arange(len(data.y)), test_size=0.3, stratify=data.y, random_state=seed)
    validation, test = train_test_split(rest, test_size=0.5, stratify=data.y[rest], random_state=seed)
    types = data.graphs.node_features[:, 0].tolist()
    starts = data.graphs.node_start.tolist()
    found = [
        Graph(part.toarray(), node_labels=dict(enumerate(types[start : start + part.shape[0]])))
        for part, start in zip(one_by_one(data.graphs)[0], starts)
    ]
    began = time.perf_counter()
    kernel = WeisfeilerLehman(n_iter=3, normalize=True)
    gram = kernel.fit_transform([found[i] for i in train])
    machine = SVC(kernel="precomputed", class_weight="balanced").fit(gram, data.y[train])
    seconds = time.perf_counter() - began
    margins = [machine.decision_function(kernel.transform([found[i] for i in part])) for part in (validation, test)]
    squashed = [1 / (1 + np.exp(-margin)) for margin in margins]
    truth = data.y[test]
    threshold = best_threshold(squashed[0], data.y[validation])
    return {
        "f1": f1_score(truth, margins[1] > 0, average="macro"),
        "f1_tuned": f1_score(truth, squashed[1] >= threshold, average="macro"),
        "auc": roc_auc_score(truth, margins[1]),
        "average_precision": average_precision_score(truth, margins[1]),
        "epoch_seconds": seconds,
    }


def compare_detection(n_epochs: int, n_seeds: int) -> None:
    """Scores of all detectors on the same splits."""
    budget = AssayBudget(("MMP",), n_seeds, (("n_epochs", n_epochs),), "cpu")
    print(f"Detection, {n_epochs} epochs, {n_seeds} splits; the kernel machine has one epoch")
    heads = ("macro-F1", "tuned", "AUC", "AP", "epoch s", "epoch / RQGNN")
    print(f"{'detector':<24}" + "".join(f"{head:>15}" for head in heads))
    first = None
    for name in (*RIVALS, "Weisfeiler-Lehman SVM"):
        if name in RIVALS:
            runs = [detection(name, {}, "MMP", seed, budget) for seed in range(n_seeds)]
        elif importlib.util.find_spec("grakel") is None:
            print(f"{name:<24}  (needs grakel: pip install 'semigroup[peers]')")
            continue
        else:
            runs = [weisfeiler_lehman(seed) for seed in range(n_seeds)]
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        spread = {key: float(np.std([run[key] for run in runs], ddof=min(1, n_seeds - 1))) for key in runs[0]}
        first = first or mean["epoch_seconds"]
        scores = "".join(
            f"{f'{mean[key]:.3f} ± {spread[key]:.3f}':>15}" for key in ("f1", "f1_tuned", "auc", "average_precision")
        )
        print(f"{name:<24}{scores}{mean['epoch_seconds']:>15.2f}{mean['epoch_seconds'] / first:>15.2f}", flush=True)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-graphs", type=int, default=2048, help="graphs of the first two tables")
    parser.add_argument("--n-epochs", type=int, default=15, help="epochs of the third table")
    parser.add_argument("--n-seeds", type=int, default=2, help="splits of the third table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = assay("MMP")
    chosen = np.arange(options.n_graphs)
    compare_epochs(data.graphs.select(chosen), data.y[chosen], 2)
    compare_quotients(data.graphs.select(chosen))
    compare_detection(options.n_epochs, options.n_seeds)


if __name__ == "__main__":
    main()
