"""A recorded step is the step."""

import pytest
import torch

from audiogen.kernels.graph import GraphRunner

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.parametrize("place", DEVICES)
def test_calls_are_those_of_the_step_on_its_state(place):
    """A running sum in slots, warmed up on a spare one."""
    total = torch.zeros(3, 2, device=place)

    def step(slots, x):
        total[slots] = total[slots] + x
        return total[slots] * 2, total[slots].sum(1)

    slots, x = torch.tensor([2], device=place), torch.ones(1, 2, device=place)
    runner = GraphRunner(step, slots, x)
    assert runner.recorded == (place == "cuda")
    for k in range(1, 4):
        doubled, summed = runner(torch.tensor([0], device=place), k * x)
        expected = k * (k + 1) / 2
        assert doubled.tolist() == [[2 * expected] * 2]
        assert summed.tolist() == [2 * expected]
    assert total[0].tolist() == [6.0, 6.0]
    assert total[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("place", DEVICES)
def test_examples_and_inputs_are_left_as_they_are(place):
    example, x = torch.zeros(2, device=place), torch.tensor([1.0, 2.0], device=place)
    runner = GraphRunner(lambda x: x.add_(0) * 3, example)
    assert runner(x).tolist() == [3.0, 6.0]
    assert (example.tolist(), x.tolist()) == ([0.0, 0.0], [1.0, 2.0])


def test_no_gradient_is_recorded():
    weight = torch.ones(2, requires_grad=True)
    assert not GraphRunner(lambda x: x * weight, torch.ones(2))(torch.ones(2)).requires_grad


def test_inputs_unlike_the_examples_are_refused():
    runner = GraphRunner(lambda x: x, torch.zeros(2))
    with pytest.raises(ValueError, match="takes 1 inputs, got 2"):
        runner(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"input 0 is \(3,\).*example was \(2,\)"):
        runner(torch.zeros(3))
    with pytest.raises(ValueError, match="float64"):
        runner(torch.zeros(2).double())
    with pytest.raises(ValueError, match="example of every input"):
        GraphRunner(lambda: 0)
