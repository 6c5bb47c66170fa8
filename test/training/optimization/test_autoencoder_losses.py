from __future__ import annotations

import pytest
import torch
from torch import nn

from sam_ad_perception.modeling.networks.latent_autoencoder import (
    LatentAutoencoder,
    LatentOutput,
    LatentSpec,
)
from sam_ad_perception.modeling.networks.vector_quantizer import Quantized
from training.configuration.autoencoder import VqganWeights
from training.optimization.autoencoder_losses import (
    PatchDiscriminator,
    VqganLoss,
    hinge_loss,
    perceptual_distance,
)


def output(reconstruction: torch.Tensor, commitment: float = 0.0) -> LatentOutput:
    empty = torch.zeros(1)
    return LatentOutput(
        reconstruction, Quantized(empty, empty, torch.tensor(commitment), torch.tensor(1.0))
    )


class Gradients(nn.Module):
    """A feature network that anyone can check: the image and its horizontal differences."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, x[..., 1:] - x[..., :-1]]


def test_hinge_loss_at_known_scores():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0])
    # real: 0, 0.5, 2 -> 2.5 / 3; fake: 0, 1 -> 0.5
    torch.testing.assert_close(hinge_loss(real, fake), torch.tensor(0.5 * (2.5 / 3 + 0.5)))


def test_perceptual_distance_is_the_sum_over_the_feature_maps():
    a, b = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    d = a - b
    expected = d.square().mean() + (d[..., 1:] - d[..., :-1]).square().mean()
    torch.testing.assert_close(perceptual_distance(Gradients(), a, b), expected)
    assert perceptual_distance(Gradients(), a, a) == 0


@pytest.mark.parametrize(('distance', 'expected'), [('l1', 0.5), ('l2', 0.25)])
def test_total_is_the_weighted_sum(distance, expected):
    image = torch.zeros(1, 1, 32, 32)
    weights = VqganWeights(2.0, distance, 3.0, 0.1, 0.25, 0.3)
    discriminator = PatchDiscriminator(1, 4, 2)
    loss = VqganLoss(weights, Gradients(), discriminator)
    out = output(image + 0.5, commitment=8.0)
    early, late = loss.generator(image, out, 0.29), loss.generator(image, out, 0.3)
    assert float(early.reconstruction) == expected
    assert float(early.perceptual) == 0.25
    torch.testing.assert_close(early.total, torch.tensor(2 * expected + 0.75 + 2.0))
    assert early.adversarial == 0
    score = discriminator(image + 0.5).mean()
    torch.testing.assert_close(late.total, early.total - 0.1 * score)


def test_discriminator_sees_no_gradient_path_into_the_autoencoder():
    network = LatentAutoencoder(1, LatentSpec(8, 8, 16))
    image = torch.rand(1, 1, 32, 32) * 2 - 1
    discriminator = PatchDiscriminator(1, 4, 2)
    loss = VqganLoss(VqganWeights(perceptual=0), None, discriminator)
    loss.adversary(image, network(image)).backward()
    assert all(p.grad is None for p in network.parameters())
    assert all(p.grad is not None for p in discriminator.parameters())


def test_both_players_learn():
    torch.manual_seed(0)
    network, discriminator = (
        LatentAutoencoder(1, LatentSpec(8, 8, 16)),
        PatchDiscriminator(1, 8, 2),
    )
    loss = VqganLoss(VqganWeights(perceptual=0.1), Gradients(), discriminator)
    image = nn.functional.interpolate(torch.rand(2, 1, 8, 8) * 2 - 1, scale_factor=4)
    of_network = torch.optim.Adam(network.parameters(), 2e-3, (0.5, 0.9))
    of_adversary = torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.9))
    errors = []
    for step in range(80):
        out = network(image)
        terms = loss.generator(image, out, step / 80)
        of_network.zero_grad()
        terms.total.backward()
        of_network.step()
        of_adversary.zero_grad()
        loss.adversary(image, out).backward()
        of_adversary.step()
        errors.append(terms.reconstruction.item())
    assert errors[-1] < 0.6 * errors[0]
    assert discriminator(image).mean() > discriminator(out.reconstruction).mean()


def test_a_weight_without_its_network_is_refused():
    with pytest.raises(ValueError, match=r'perceptual weight 1.0 needs a feature network'):
        VqganLoss(VqganWeights(), None, PatchDiscriminator(3))
    with pytest.raises(ValueError, match=r'adversarial weight 0.1 needs a discriminator'):
        VqganLoss(VqganWeights(perceptual=0))
    alone = VqganLoss(VqganWeights(perceptual=0, adversarial=0))
    with pytest.raises(ValueError, match='no discriminator'):
        alone.adversary(torch.zeros(1, 1, 8, 8), output(torch.zeros(1, 1, 8, 8)))
    with pytest.raises(ValueError, match=r"distance must be one of .* got 'l3'"):
        VqganWeights(distance='l3')
    with pytest.raises(ValueError, match='weights must be 0 or more'):
        VqganWeights(perceptual=-1)
