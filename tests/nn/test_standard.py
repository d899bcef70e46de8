import torch

from audiogen.nn.standard import Standard


def test_statistics_are_those_of_all_batches_of_equal_size():
    torch.manual_seed(0)
    batches = [torch.randn(2, 3, 50) * torch.tensor([[1.0], [2.0], [0.1]]) + k for k in range(4)]
    layer = Standard(3)
    for batch in batches:
        layer(batch)
    values = torch.cat([batch.transpose(0, 1).flatten(1) for batch in batches], dim=1)
    assert torch.allclose(layer.mean, values.mean(1), atol=1e-5)
    assert torch.allclose(layer.deviation, values.std(1, correction=0), atol=1e-4)
    layer.eval()
    out = layer(values[None])
    assert torch.allclose(out.mean(2), torch.zeros(1, 3), atol=1e-4)
    assert torch.allclose(out.std(2), torch.ones(1, 3), atol=1e-2)
    assert layer.count == 4  # nothing is learnt outside training


def test_untrained_it_changes_nothing():
    x = torch.randn(1, 2, 5)
    assert torch.equal(Standard(2).eval()(x), x)
