import torch

from audiogen.nn.variance import VarianceAdaptor, regulate_length, token_means


def test_states_repeat_by_durations_and_know_their_place():
    x = torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]])
    frames, mask = regulate_length(x, torch.tensor([[2, 0, 1], [1, 3, 1]]))
    assert frames[:, 0].tolist() == [[1, 1, 3, 0, 0], [4, 5, 5, 5, 6]]
    assert mask[:, 0].tolist() == [[True, True, True, False, False], [True] * 5]
    assert torch.allclose(frames[1, 1], torch.tensor([0.0, -2 / 3, 0.0, 2 / 3, 0.0]))
    assert torch.allclose(frames[1, 2], torch.log(torch.tensor([2.0, 4.0, 4.0, 4.0, 2.0])))


def test_token_means_skip_frames_and_bridge_empty_tokens():
    values = torch.tensor([1.0, 3.0, 100.0, 5.0, 7.0])
    voiced = torch.tensor([True, True, False, True, True])
    means = token_means(values, torch.tensor([0, 2, 1, 2, 0]), voiced)
    assert means.tolist() == [2.0, 2.0, 4.0, 6.0, 6.0]
    assert token_means(values, torch.tensor([5]), torch.zeros(5, dtype=torch.bool)).tolist() == [0.0]


def test_predictors_pass_a_tenth_of_their_gradient_on():
    adaptor = VarianceAdaptor(8, hidden=8, dropout=0.0)
    full = VarianceAdaptor(8, hidden=8, dropout=0.0, gradient_share=1.0)
    full.load_state_dict(adaptor.state_dict())
    mask = torch.ones(1, 1, 5, dtype=torch.bool)
    gradients = []
    for module in (adaptor, full):
        x = torch.linspace(-1, 1, 40).view(1, 8, 5).requires_grad_()
        module.predict(x, mask).log_durations.sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(gradients[0], 0.1 * gradients[1], atol=1e-7)
