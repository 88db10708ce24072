"""Networks of the samplers: what a time and a label change, what sizes are refused, and that the classifier learns."""

import numpy as np
import pytest
import torch

from semigroup.data.images import digits
from semigroup.nn.classifier import train_classifier
from semigroup.nn.mlp import MLP
from semigroup.nn.unet import ImageUNet, UNet
from semigroup.training import seeded


def awake(network):
    """The network with weights that are nowhere zero."""
    with seeded(0):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.mark.parametrize("time", ["concatenate", "sinusoids"])
def test_mlp_hears_time_and_label(time):
    network = awake(MLP(3, 2, (16, 16), time=time, n_classes=4))
    x, t = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.full((5,), 0.3)
    label = torch.zeros(5, dtype=torch.long)
    base = network(x, t, label)
    assert not torch.allclose(base, network(x, t + 0.4, label))
    assert not torch.allclose(base, network(x, t, label + 1))


def test_mlp_is_the_composition_of_its_layers():
    network = MLP(2, 1, (4, 3), activation=torch.nn.Tanh)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    first, second, third = network.first, network.rest[1], network.rest[3]
    assert torch.allclose(network(x), third(torch.tanh(second(torch.tanh(first(x))))))
    assert sum(parameter.numel() for parameter in network.parameters()) == 12 + 15 + 4


def test_mlp_says_when_a_time_is_missing_or_too_much():
    with pytest.raises(ValueError, match="t must be given"):
        MLP(2, 1, (4,), time="concatenate")(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="t must be left out"):
        MLP(2, 1, (4,))(torch.zeros(1, 2), torch.zeros(1))


def test_image_unet_hears_time_and_label_and_starts_at_zero():
    network = ImageUNet(1, 8, width=8, n_classes=3)
    x, t = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.tensor([0.2, 0.2])
    label = torch.tensor([0, 0])
    assert not network(x, t, label).any()
    network = awake(network)
    base = network(x, t, label)
    assert not torch.allclose(base, network(x, t + 0.5, label), rtol=1e-3)
    assert not torch.allclose(base, network(x, t, label + 1), rtol=1e-3)


def test_circular_unet_commutes_with_shifts_and_a_padded_one_does_not():
    embedding = torch.randn(1, 8, generator=torch.Generator().manual_seed(3))
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(4))
    gaps = {}
    for padding in ("circular", "zeros"):
        options = {"n_embedding": 8, "n_dims": 2, "width": 8, "multipliers": (1, 2), "attention": True}
        network = awake(UNet(1, 1, padding=padding, **options)).eval()
        moved = network(x.roll(4, dims=-1), embedding)
        gaps[padding] = (moved - network(x, embedding).roll(4, dims=-1)).abs().max() / moved.abs().max()
    assert gaps["circular"] < 1e-5
    assert gaps["zeros"] > 1e-2


@pytest.mark.parametrize(
    ("size", "width", "message"), [(30, 8, "size must be"), (4, 8, "size must be"), (28, 12, "width must")]
)
def test_impossible_sizes_are_refused(size, width, message):
    with pytest.raises(ValueError, match=message):
        ImageUNet(1, size, width=width)


def test_dropout_acts_in_training_only():
    network = awake(ImageUNet(1, 8, width=8, dropout=0.5))
    x, t = torch.ones(1, 1, 8, 8), torch.tensor([0.1])
    with seeded(0):
        assert not torch.equal(network(x, t), network(x, t))
    network.eval()
    assert torch.equal(network(x, t), network(x, t))


def test_classifier_learns_digits_and_its_seed_decides():
    images, labels = digits()
    train, test = slice(0, 1200), slice(1200, None)
    networks = [
        train_classifier(images[train, None], labels[train], n_epochs=12, random_state=seed) for seed in (0, 0, 1)
    ]
    x = torch.as_tensor(images[test, None], dtype=torch.float32)
    outputs = [network(x).detach() for network in networks]
    assert (outputs[0].argmax(1).numpy() == labels[test]).mean() > 0.88
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    features = networks[0].features(x)
    assert features.shape == (len(x), 64)
    assert torch.equal(networks[0].head(features), outputs[0])
    assert np.isfinite(features.numpy()).all()


@pytest.mark.parametrize(
    "build",
    [
        lambda: MLP(3, 2, (16, 16), time="concatenate"),
        lambda: MLP(3, 2, (16, 16), time="sinusoids", n_classes=4),
        lambda: ImageUNet(1, 8, width=8, multipliers=(1, 2), n_classes=4),
    ],
)
def test_one_time_for_the_batch_is_that_time_for_every_row(build):
    network = build()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    x = torch.randn((5, 1, 8, 8) if isinstance(network, ImageUNet) else (5, 3), generator=generator)
    label = None if network.classes is None else torch.tensor([0, 1, 2, 3, 0])
    one, each = network(x, torch.full((1,), 0.3), label), network(x, torch.full((5,), 0.3), label)
    torch.testing.assert_close(one, each, rtol=1e-4, atol=1e-4)
    assert (network(x, torch.full((1,), 0.6), label) - one).abs().max() > 1e-2
