from __future__ import annotations

import pytest
import torch

from sam_ad_perception.modeling.networks.latent_autoencoder import LatentAutoencoder, LatentSpec
from sam_ad_perception.modeling.networks.vector_quantizer import VectorQuantizer


def clusters(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Four well separated clusters in 3-D, as a feature map."""
    centres = torch.tensor([[5.0, 0, 0], [0, 5, 0], [0, 0, 5], [-5, -5, -5]])
    which = torch.arange(count) % 4
    points = centres[which] + 0.05 * torch.randn(count, 3, generator=generator)
    return points.t().reshape(1, 3, 8, -1), centres


def test_takes_the_nearest_code():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(7, 5).eval()
    z = torch.randn(2, 5, 4, 6)
    got = quantizer(z)
    distance = torch.cdist(z.permute(0, 2, 3, 1).reshape(-1, 5), quantizer.codes)
    expected = distance.argmin(1).view(2, 4, 6)
    assert torch.equal(got.indices, expected)
    torch.testing.assert_close(got.latent, quantizer.codes[expected].permute(0, 3, 1, 2))
    nearest = distance.min(1).values.square().mean() / 5
    torch.testing.assert_close(got.commitment, nearest)


def test_codes_move_to_the_means_of_their_clusters():
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    quantizer = VectorQuantizer(16, 3, decay=0.8)
    for _ in range(60):
        z, centres = clusters(256, generator)
        quantizer(z)
    got = quantizer.eval()(z)
    assert float(got.commitment) < 0.01
    nearest = torch.cdist(centres, quantizer.codes).min(1).values
    assert float(nearest.max()) < 0.15


def test_restart_revives_a_dead_codebook_and_without_it_most_codes_stay_dead():
    used = {}
    for restart in (0.0, 1.0):
        torch.manual_seed(2)
        generator = torch.Generator().manual_seed(2)
        quantizer = VectorQuantizer(16, 3, decay=0.5, restart_usage=restart)
        quantizer.codes += 100.0  # far from all data: a single code wins everything
        for _ in range(30):
            z, _ = clusters(256, generator)
            quantizer(z)
        used[restart] = len(quantizer.eval()(z).indices.unique())
    assert used[0.0] == 1
    assert used[1.0] >= 4


def test_moving_average_equals_its_definition_for_one_step():
    torch.manual_seed(3)
    quantizer = VectorQuantizer(2, 1, decay=0.5, restart_usage=0)
    quantizer.codes.copy_(torch.tensor([[-1.0], [1.0]]))
    quantizer.usage.copy_(torch.tensor([2.0, 2.0]))
    quantizer.total.copy_(torch.tensor([[-2.0], [2.0]]))
    quantizer(torch.tensor([-3.0, -1.0, 4.0, 0.5]).view(1, 1, 2, 2))
    # usage (2 + 2) / 2; totals (-2 - 4) / 2 and (2 + 4.5) / 2
    torch.testing.assert_close(quantizer.codes, torch.tensor([[-1.5], [1.625]]))


def test_gradient_passes_straight_through_and_commitment_pulls_to_the_code():
    quantizer = VectorQuantizer(8, 4).eval()
    z = torch.randn(1, 4, 2, 2, requires_grad=True)
    weight = torch.randn(1, 4, 2, 2)
    out = quantizer(z)
    (gradient,) = torch.autograd.grad((out.latent * weight).sum(), z, retain_graph=True)
    torch.testing.assert_close(gradient, weight)
    (gradient,) = torch.autograd.grad(out.commitment, z)
    torch.testing.assert_close(gradient, 2 * (z - out.latent).detach() / z.numel())


def test_continuous_form_passes_the_input_through_but_keeps_learning_codes():
    quantizer = VectorQuantizer(8, 4, quantize=False)
    before = quantizer.codes.clone()
    z = torch.randn(1, 4, 3, 3)
    assert torch.equal(quantizer(z).latent, z)
    assert not torch.equal(quantizer.codes, before)


def test_nothing_moves_in_inference():
    quantizer = VectorQuantizer(8, 4).eval()
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(torch.randn(1, 4, 3, 3))
    assert all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())


def test_perplexity_counts_the_codes_in_use():
    quantizer = VectorQuantizer(4, 1).eval()
    quantizer.codes.copy_(torch.tensor([[0.0], [1], [2], [3]]))
    even = quantizer(torch.tensor([0.0, 1, 2, 3]).view(1, 1, 2, 2)).perplexity
    torch.testing.assert_close(even, torch.tensor(4.0))
    same = quantizer(torch.ones(1, 1, 2, 2)).perplexity
    torch.testing.assert_close(same, torch.tensor(1.0))


def test_autoencoder_has_stride_four_and_learns_an_image():
    torch.manual_seed(0)
    network = LatentAutoencoder(3, LatentSpec(16, 16, 32))
    image = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 6) * 2 - 1, scale_factor=4)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        out = network(image)
        loss = (out.reconstruction - image).abs().mean() + out.tokens.commitment
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())
        optimizer.step()
        losses.append(float((out.reconstruction.detach() - image).abs().mean()))
    assert out.tokens.latent.shape == (2, 16, 4, 6)
    assert losses[-1] < 0.5 * losses[0]


def test_refuses_arguments_out_of_range():
    with pytest.raises(ValueError, match='got 1 and 4'):
        VectorQuantizer(1, 4)
    with pytest.raises(ValueError, match=r'decay must be in \[0, 1\), got 1'):
        VectorQuantizer(4, 4, decay=1)
    with pytest.raises(ValueError, match=r'latent.width must be a multiple of 4, got 6'):
        LatentSpec(6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_codes_are_searched_in_full_precision_under_autocast(dtype):
    """With 1024 codes a search in bfloat16 takes others for every tenth vector."""
    torch.manual_seed(3)
    quantizer = VectorQuantizer(1024, 64).eval()
    z = torch.randn(2, 64, 16, 16).to(dtype)
    vectors = z.double().permute(0, 2, 3, 1).reshape(-1, 64)
    distance = torch.cdist(vectors, quantizer.codes.double())
    with torch.autocast('cpu', torch.bfloat16):
        got = quantizer(z)
        coarse = (
            quantizer.codes.square().sum(1) - 2 * vectors.float() @ quantizer.codes.t()
        ).argmin(1)
    assert torch.equal(got.indices.flatten(), distance.argmin(1))
    nearest = distance.min(1).values.square().mean() / 64
    torch.testing.assert_close(got.commitment.double(), nearest, rtol=1e-5, atol=0)
    assert (coarse != distance.argmin(1)).float().mean() > 0.01  # the trap is real
