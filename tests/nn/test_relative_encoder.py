import math

import pytest
import torch

from audiogen.nn.relative_encoder import RelativeAttention, RelativeTextEncoder
from audiogen.nn.variance import VariancePredictor


def ones(batch, tokens):
    return torch.ones(batch, 1, tokens, dtype=torch.bool)


def naive(attention, x):
    """Shaw et al. 2018, eq. 3 and 4, pair by pair, for one item without padding."""
    S, width = x.shape[-1], x.shape[1] // attention.heads
    q, k, v = (part.split(width) for part in attention.qkv(x)[0].chunk(3))
    heads = []
    for q_h, k_h, v_h in zip(q, k, v, strict=True):
        columns = []
        for i in range(S):
            logits, values = [], []
            for j in range(S):
                key, value = k_h[:, j], v_h[:, j]
                if abs(j - i) <= attention.window:
                    key = key + attention.distance_keys[j - i + attention.window]
                    value = value + attention.distance_values[j - i + attention.window]
                logits.append(q_h[:, i] @ key / math.sqrt(width))
                values.append(value)
            columns.append(torch.stack(values, 1) @ torch.stack(logits).softmax(0))
        heads.append(torch.stack(columns, 1))
    return attention.out(torch.cat(heads)[None])


@pytest.mark.parametrize("window", [0, 1, 4])
@pytest.mark.parametrize("tokens", [1, 3, 11])
def test_relative_attention_equals_a_double_loop(tokens, window):
    """Also where the window is wider than the text."""
    torch.manual_seed(0)
    attention = RelativeAttention(8, heads=2, window=window, dropout=0.0)
    x = torch.randn(1, 8, tokens)
    assert torch.allclose(attention(x, ones(1, tokens)), naive(attention, x), atol=1e-5)


def small(**options):
    """A small encoder whose pre-net has something to say."""
    torch.manual_seed(0)
    encoder = RelativeTextEncoder(20, channels=16, blocks=2, hidden=24, **options)
    torch.nn.init.normal_(encoder.pre_net.out.weight)
    return encoder


def test_padding_does_not_change_it():
    encoder = small().eval()
    tokens, zeros = torch.randint(0, 20, (1, 7)), torch.zeros(1, 7, dtype=torch.long)
    alone = encoder(tokens, zeros, zeros, ones(1, 7))
    mask = torch.tensor([[[True] * 7 + [False] * 4]])
    padded = encoder(*(torch.cat([x, torch.full((1, 4), 1)], 1) for x in (tokens, zeros, zeros)), mask)
    assert torch.allclose(padded[:, :, :7], alone, atol=1e-5)
    assert padded[:, :, 7:].abs().max() == 0


def test_without_distances_and_convolutions_order_is_unknown():
    """Positions enter by distances (and convolutions) alone: without, a shuffled text is shuffled states."""
    encoder = small(kernel_size=1).eval()
    for conv in encoder.pre_net.convs:
        conv.weight.data[:, :, [0, 1, 3, 4]] = 0
    tokens, zeros, order = (
        torch.randint(0, 20, (1, 9)),
        torch.zeros(1, 9, dtype=torch.long),
        torch.randperm(9),
    )

    def shuffled_alike():
        straight, shuffled = (encoder(t, zeros, zeros, ones(1, 9)) for t in (tokens, tokens[:, order]))
        return torch.allclose(straight[:, :, order], shuffled, atol=1e-4)

    assert not shuffled_alike()
    for block in encoder.blocks:
        block.attention.distance_keys.data.zero_()
        block.attention.distance_values.data.zero_()
    assert shuffled_alike()


@pytest.mark.parametrize("feature", range(3))
def test_tokens_stress_and_length_matter(feature):
    encoder = small().eval()
    features = [torch.zeros(1, 5, dtype=torch.long) for _ in range(3)]
    before = encoder(*features, ones(1, 5))
    features[feature][0, 2] = 1
    assert not torch.allclose(encoder(*features, ones(1, 5)), before, atol=1e-3)


def test_every_part_learns():
    encoder = small()
    features = (torch.randint(0, limit, (2, 40)) for limit in (20, 3, 2))
    encoder(*features, ones(2, 40))[:, 0].square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_default_sizes_are_those_of_grad_tts():
    """7.2 M parameters with the duration predictor and the linear layer to 80 mels, of 149 symbols."""
    parts = (RelativeTextEncoder(149), VariancePredictor(192, 256, 3, 0.1), torch.nn.Conv1d(192, 80, 1))
    assert sum(p.numel() for part in parts for p in part.parameters()) == pytest.approx(7.2e6, rel=0.01)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="16 channels do not divide into 3 heads"):
        RelativeTextEncoder(20, channels=16, heads=3)
