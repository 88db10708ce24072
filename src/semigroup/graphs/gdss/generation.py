"""Score networks and schedules as a system of reverse diffusions of graphs, and its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from semigroup.graphs.gdss.networks import mask_edges, mask_nodes
from semigroup.graphs.gdss.samplers import Component, predictor_corrector, symmetric_splitting
from semigroup.graphs.gdss.states import edge_noise, node_noise
from semigroup.schedules import VE, Schedule

__all__ = ["SAMPLERS", "ScorePair", "sample_states", "to_score"]

SAMPLERS = ("euler", "reverse", "flow", "reverse-flow", "s4")


class ScorePair(nn.Module):
    """The two networks, for nodes and for edges.

    Parameters
    ----------
    nodes, edges : nn.Module
        Of (x, a, real).
    coupled : bool
        Whether the nodes' network sees the edges; where it does not, the edges' network sees the clean nodes (GDSS-seq).
    """

    def __init__(self, nodes: nn.Module, edges: nn.Module, *, coupled: bool = True) -> None:
        super().__init__()
        self.nodes, self.edges, self.coupled = nodes, edges, coupled

    def forward(
        self,
        x: Float[Tensor, "graphs n classes"],
        a: Float[Tensor, "graphs n n"],
        real: Bool[Tensor, "graphs n"],
        clean: Float[Tensor, "graphs n classes"],
    ) -> tuple[Float[Tensor, "graphs n classes"], Float[Tensor, "graphs n n"]]:
        """Outputs at noisy states; `clean` are the nodes without noise."""
        return self.node_output(x, a, real), self.edges(x if self.coupled else clean, a, real)

    def node_output(self, x: Tensor, a: Tensor, real: Tensor) -> Tensor:
        """The nodes' network alone."""
        return self.nodes(x, a if self.coupled else torch.zeros_like(a), real)


def to_score(schedule: Schedule, output: Tensor, t: float) -> Tensor:
    """A network's output as a score: as it is for VE, over minus the standard deviation of the noise otherwise."""
    return output if isinstance(schedule, VE) else output / -float(schedule.std(t))


def sample_states(
    networks: ScorePair,
    schedules: tuple[Schedule, Schedule],
    start: tuple[Float[Tensor, "graphs n classes"], Float[Tensor, "graphs n n"]],
    real: Bool[Tensor, "graphs n"],
    generator: torch.Generator,
    *,
    sampler: Literal["euler", "reverse", "flow", "reverse-flow", "s4"] = "euler",
    n_steps: int = 1000,
    eps: float = 1e-4,
    n_corrector_steps: int = 1,
    snr: float = 0.05,
    noise_scale: float = 0.7,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Float[Tensor, "graphs n classes"], Float[Tensor, "graphs n n"]]:
    """States of a whole batch of graphs at time 0.

    Parameters
    ----------
    networks : ScorePair
    schedules : (Schedule, Schedule)
        Of nodes and edges.
    start : (Tensor, Tensor)
        States at time 1, masked here.
    real : Tensor of shape (graphs, n)
        The nodes of each graph.
    generator : torch.Generator
    sampler, n_steps, eps, n_corrector_steps, snr, noise_scale, on_step
        As in `predictor_corrector` and `symmetric_splitting`. Where the networks are not coupled, all nodes are sampled
        first and the edges after them, each in `n_steps` steps.
    """
    x, a = mask_nodes(start[0], real), mask_edges(start[1], real)
    components = (
        Component(
            schedules[0],
            lambda x, a, t: to_score(schedules[0], networks.node_output(x, a, real), t),
            lambda: node_noise(x, real, generator),
        ),
        Component(
            schedules[1],
            lambda x, a, t: to_score(schedules[1], networks.edges(x, a, real), t),
            lambda: edge_noise(a, real, generator),
        ),
    )
    common: dict[str, Any] = {
        "n_steps": n_steps,
        "eps": eps,
        "snr": snr,
        "noise_scale": noise_scale,
        "on_step": on_step,
    }
    state = (x, a)
    with torch.inference_mode():
        for active in ((0, 1),) if networks.coupled else ((0,), (1,)):
            if sampler == "s4":
                state = symmetric_splitting(components, state, correct=n_corrector_steps > 0, active=active, **common)
            else:
                state = predictor_corrector(
                    components, state, predictor=sampler, n_corrector_steps=n_corrector_steps, active=active, **common
                )
    return state
