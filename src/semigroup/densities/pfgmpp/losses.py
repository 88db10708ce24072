"""What training regresses on: noise levels, networks and targets."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semigroup.densities.pfgmpp.noise import posterior_mean
from semigroup.schedules import VE, VP, Preconditioning

__all__ = [
    "Denoiser",
    "FieldDenoiser",
    "ImageRows",
    "Loss",
    "field_range",
    "field_target",
    "loss_weight",
    "noise_levels",
    "stable_target",
    "tail_weight",
]

Loss = Literal["edm", "ve", "vp", "stf", "field"]
# The published ranges: of sigma for the variance exploding loss, of t for the variance preserving one.
VE_RANGE = VE(0.02, 100.0)
VP_SCHEDULE, VP_LEAST_TIME = VP(), 1e-5
FIELD_OFFSET = 5.0
# No row of the data is longer than so many times their typical length.
FARTHEST = 10.0


def noise_levels(
    loss: Loss,
    n: int,
    generator: torch.Generator,
    *,
    log_sigma_mean: float = -1.2,
    log_sigma_std: float = 1.2,
    field_sigmas: tuple[float, float] | None = None,
) -> Float[Tensor, " n"]:
    """Draw the noise levels of a batch.

    ============  ==============================================================================
    loss          sigma
    ============  ==============================================================================
    edm, stf      log-normal with the given mean and standard deviation of its logarithm
    ve            log-uniform in [0.02, 100]
    vp            ``sqrt(exp(9.95 t^2 + 0.1 t) - 1)``, t uniform in [1e-5, 1]
    field         log-uniform in `field_sigmas`
    ============  ==============================================================================

    References
    ----------
    Karras, T. et al. (2022). Elucidating the design space of diffusion-based generative models. NeurIPS, table 1.

    Examples
    --------
    >>> sigma = noise_levels("ve", 1000, torch.Generator().manual_seed(0))
    >>> bool(sigma.min() > 0.02 and sigma.max() < 100)
    True
    """
    device = generator.device
    if loss in ("edm", "stf"):
        return (log_sigma_mean + log_sigma_std * torch.randn(n, generator=generator, device=device)).exp()
    u = torch.rand(n, generator=generator, device=device)
    if loss == "vp":
        t = (VP_LEAST_TIME + (1 - VP_LEAST_TIME) * u).double()
        return (VP_SCHEDULE.std(t) / VP_SCHEDULE.scale(t)).float()
    if loss == "ve":
        return VE_RANGE.std(u)
    assert field_sigmas is not None
    return VE(*field_sigmas).std(u)


def loss_weight(loss: Loss, sigma: Float[Tensor, " batch"], scalings: Preconditioning) -> Float[Tensor, " batch"]:
    """Weight of the squared error of the denoised data: EDM's, or ``1 / sigma^2``, which is the paper's own objective."""
    return scalings.weight(sigma) if loss in ("edm", "stf") else sigma**-2


def tail_weight(
    x: Float[Tensor, "batch n_features"], sigma: Float[Tensor, " batch"], scalings: Preconditioning
) -> Float[Tensor, " batch"]:
    """Weight that bounds the loss in the noise's tails: 1 up to twice the typical length of x, then falling as its power -4.

    Noise of four or fewer dimensions has no fourth moment, and the gradient of a squared error no variance. A weight that
    depends on x and sigma alone leaves the minimiser, the posterior mean at each x, as it is.
    """
    typical = (scalings.inner(sigma)[:, None] * x).square().mean(1)
    return (4 / typical.clamp(min=4)).square()


def stable_target(
    x: Float[Tensor, "batch n_features"],
    sigma: Float[Tensor, " batch"],
    references: Float[Tensor, "reference n_features"],
    D: float,
    *,
    label: Int[Tensor, " batch"] | None = None,
    reference_label: Int[Tensor, " reference"] | None = None,
) -> Float[Tensor, "batch n_features"]:
    """Posterior mean of y given x and a reference batch that holds the y of every x: a target of less variance.

    It is unbiased: given the reference batch, each of its rows is as likely a priori to be the one that x came from, so the
    target is E[y | x, references], whose mean over the references is E[y | x]. With labels, only references of a
    row's own label count.

    References
    ----------
    Xu, Y., Tong, S. and Jaakkola, T. (2023). Stable target field for reduced variance score estimation. ICLR, eq. 8.

    Examples
    --------
    >>> x = torch.zeros(1, 1)
    >>> stable_target(x, torch.ones(1), torch.tensor([[-1.0], [1.0], [3.0]]), math.inf).item() < 1
    True
    """
    allowed = None if label is None or reference_label is None else label[:, None] == reference_label
    return posterior_mean(x, sigma, references, D, allowed=allowed)


def field_target(
    x: Float[Tensor, "batch n_features"],
    sigma: Float[Tensor, " batch"],
    mean: Float[Tensor, "batch n_features"],
    D: float,
) -> Float[Tensor, "batch n_features_and_radius"]:
    """PFGM's target, the normalised empirical field: ``sqrt(N + D) v / (|v| + 5)`` with ``v = -(x - m, r)``.

    The radial part, the last column, is divided by sqrt(D), which keeps it of order one.

    Parameters
    ----------
    x : Tensor, shape (batch, n_features)
    sigma : Tensor, shape (batch,)
    mean : Tensor, shape (batch, n_features)
        Posterior means m over the reference batch.
    D : float
        Finite.

    Returns
    -------
    Tensor, shape (batch, n_features + 1)

    References
    ----------
    Xu, Y. et al. (2022). Poisson flow generative models. NeurIPS, sec. 3.2.

    Examples
    --------
    >>> field_target(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2), 4.0).tolist()  # sqrt(6) 2 / (2 + 5) / 2
    [[0.0, 0.0, -0.3499271273612976]]
    """
    along, radius = mean - x, sigma * math.sqrt(D)
    length = (along.square().sum(1) + radius.square()).sqrt()
    factor = math.sqrt(x.shape[1] + D) / (length + FIELD_OFFSET)
    return torch.cat([along * factor[:, None], -(sigma * factor)[:, None]], dim=1)


def field_range(n_features: int, D: float, sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """Least and largest sigma of field regression: r from 0.55 to 2500 over ``sqrt(N / (D - 3))``, which needs D > 3.

    For other D the given levels stay.

    Examples
    --------
    >>> [round(sigma, 4) for sigma in field_range(3072, 128.0, 0.002, 80.0)]
    [0.0098, 44.5738]
    """
    if D <= 3:
        return sigma_min, sigma_max
    unit = math.sqrt((D - 3) / n_features / D)
    return 0.55 * unit, 2500 * unit


class Denoiser(nn.Module):
    """A network between EDM's scalings: ``skip x + out F(inner x, log(sigma) / 4, label)``.

    The scalings know sigma only: the heavy tails of the noise are the network's to see.

    Parameters
    ----------
    network : nn.Module
        ``network(x, t, label)`` for rows x.
    sigma_data : float
        Standard deviation of the data.
    """

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network = network
        self.scalings = Preconditioning(sigma_data)

    def forward(
        self,
        x: Float[Tensor, "batch n_features"],
        sigma: Float[Tensor, " #batch"],
        label: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch n_features"]:
        c, column = self.scalings, sigma[:, None]
        inner = self.network(c.inner(column) * x, c.noise(sigma), label)
        return c.skip(column) * x + c.out(column) * inner


class FieldDenoiser(nn.Module):
    """A network that predicts PFGM's normalised field, and the denoiser that it stands for.

    With the field (f_x, f_r) as in `field_target`, field lines obey ``dx/dsigma = f_x / f_r``, hence ``m = x - sigma f_x / f_r``.

    Parameters
    ----------
    network : nn.Module
        As for `Denoiser`, with one more column out.
    sigma_data : float
    """

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network = network
        self.scalings = Preconditioning(sigma_data)

    def forward(
        self,
        x: Float[Tensor, "batch n_features"],
        sigma: Float[Tensor, " #batch"],
        label: Int[Tensor, " batch"] | None = None,
        *,
        as_field: bool = False,
    ) -> Float[Tensor, "batch n_outputs"]:
        """The denoised rows, or with `as_field` the predicted field, one column more."""
        field = self.network(self.scalings.inner(sigma[:, None]) * x, self.scalings.noise(sigma), label)
        if as_field:
            return field
        # Of every target |f_r| = sigma sqrt(N + D) / (|v| + 5) with |v| <= |x| + |m| + sigma sqrt(D): for any D, and |m| up to
        # |x| + 5, at least a quarter of `reach`; and |x - m| <= |x| + |m|. Predictions beyond would turn the line round or throw
        # x far away.
        root, length = math.sqrt(x.shape[1]), x.norm(dim=1, keepdim=True)
        reach = (root * sigma[:, None] / (length + FIELD_OFFSET)).clamp(max=1)
        step = sigma[:, None] * field[:, :-1] / torch.minimum(field[:, -1:], -reach / 4)
        longest = length + FARTHEST * self.scalings.sigma_data * root
        return x - step * (longest / step.norm(dim=1, keepdim=True).clamp(min=longest))


class ImageRows(nn.Module):
    """A network of images as a network of rows: channels beyond the image's become one column each, their mean."""

    def __init__(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.network, self.shape = network, shape

    def forward(
        self,
        x: Float[Tensor, "batch n_features"],
        t: Float[Tensor, " #batch"],
        label: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch n_outputs"]:
        images = self.network(x.unflatten(1, self.shape), t, label)
        n_channels = self.shape[0]
        rows = images[:, :n_channels].flatten(1)
        if images.shape[1] == n_channels:
            return rows
        return torch.cat([rows, images[:, n_channels:].mean((2, 3))], dim=1)
