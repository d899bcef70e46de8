import pytest
import torch
import torch.nn.functional as F

from audiogen.nn.unet import LinearAttention, MaskedGroupNorm, UNetDenoiser


def ragged(channels=6, bins=3, lengths=(5, 8)):
    """Feature maps with an offset, zero where masked -> x (B, C, F, N), mask (B, 1, 1, N)."""
    torch.manual_seed(0)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).float()[:, None, None]
    return (3 + torch.randn(len(lengths), channels, bins, max(lengths))) * mask, mask


def test_masked_group_norm_is_group_norm_of_the_real_frames():
    x, mask = ragged()
    norm = MaskedGroupNorm(6, groups=2)
    torch.nn.init.normal_(norm.scale)
    torch.nn.init.normal_(norm.shift)
    y = norm(x + 100 * (1 - mask), mask)  # whatever stands in masked frames
    for i, n in enumerate((5, 8)):
        expected = F.group_norm(x[i : i + 1, :, :, :n], 2, norm.scale.flatten(), norm.shift.flatten())
        assert torch.allclose(y[i : i + 1, :, :, :n], expected, atol=1e-5)


def test_linear_attention_is_the_sum_over_real_positions():
    """A double loop over positions, head by head."""
    x, mask = ragged()
    attention = LinearAttention(6, heads=2, width=4)
    torch.nn.init.constant_(attention.scale, 0.7)
    found = attention(x, mask)
    for i, n in enumerate((5, 8)):
        real = x[i : i + 1, :, :, :n]
        q, k, v = attention.qkv(real)[0].flatten(1).chunk(3)
        heads = []
        for q_h, k_h, v_h in zip(q.split(4), k.split(4), v.split(4), strict=True):
            weights = k_h.exp() / k_h.exp().sum(1, keepdim=True)
            columns = [
                sum((q_h[:, p] @ weights[:, o]) * v_h[:, o] for o in range(v_h.shape[1]))
                for p in range(q_h.shape[1])
            ]
            heads.append(torch.stack(columns, 1))
        branch = attention.out(torch.cat(heads).view(1, 8, 3, n))
        assert torch.allclose(found[i : i + 1, :, :, :n], real + 0.7 * branch, atol=1e-5)
    assert found[0, :, :, 5:].abs().max() == 0


def test_an_item_without_frames_is_zero_and_finite():
    net = UNetDenoiser(8, 6, channels=8)
    mask = torch.tensor([[[True] * 9], [[False] * 9]])
    y = net(torch.randn(2, 8, 9) * mask, torch.zeros(2), net.project(torch.randn(2, 6, 9)), mask)
    assert torch.isfinite(y).all()
    assert y[1].abs().max() == 0


def test_default_sizes_are_those_of_grad_tts():
    """7.63 M parameters without the projection of the condition."""
    net = UNetDenoiser(80, 192)
    count = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.condition.parameters())
    assert count == pytest.approx(7.63e6, rel=0.01)


def test_attention_starts_as_the_identity():
    x, mask = ragged()
    assert torch.equal(LinearAttention(6)(x, mask), x)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="n_mels 82 is halved 2 times: use a multiple of 4"):
        UNetDenoiser(82, 6)
    with pytest.raises(ValueError, match="12 channels do not divide into 8 groups"):
        UNetDenoiser(80, 6, channels=12)
    assert UNetDenoiser(81, 6, channels=12, multipliers=(1,), groups=4).factor == 1


def test_what_moves_by_a_coarse_frame_comes_out_moved():
    """Far from the edges: no scale is out of step with another."""
    torch.manual_seed(0)
    net = UNetDenoiser(8, 6, channels=8, multipliers=(1, 2))
    x, condition = torch.zeros(1, 8, 96), torch.zeros(1, 6, 96)
    x[..., 40:44], condition[..., 40:44] = torch.randn(8, 4), torch.randn(6, 4)
    mask, level = torch.ones(1, 1, 96, dtype=torch.bool), torch.zeros(1)
    y = net(x, level, net.project(condition), mask)
    moved = net(x.roll(2, -1), level, net.project(condition.roll(2, -1)), mask)
    assert torch.allclose(moved.roll(-2, -1)[..., 30:60], y[..., 30:60], atol=1e-4)


def test_lower_precision_gives_about_the_same():
    """Under bfloat16 autocast, as training may run."""
    torch.manual_seed(0)
    net = UNetDenoiser(8, 6, channels=16, multipliers=(1, 2))
    torch.nn.init.constant_(net.bottom.attention.scale, 1.0)
    x, condition, mask = torch.randn(1, 8, 30), torch.randn(1, 6, 30), torch.arange(30)[None, None] < 21
    exact = net(x, torch.zeros(1), net.project(condition), mask)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x, torch.zeros(1), net.project(condition), mask)
    assert torch.isfinite(rough).all()
    assert (rough - exact).std() < 0.05 * exact.std()
