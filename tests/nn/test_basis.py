import pytest
import torch

from audiogen.nn.basis import Basis


def test_a_plane_in_space_is_found_and_its_points_come_back():
    torch.manual_seed(0)
    points = torch.randn(500, 2) @ torch.randn(2, 6) + torch.randn(6)
    basis = Basis(6, 2)
    basis.add(points[:200])
    basis.add(points[200:])
    basis.fit()
    codes = basis.analyse(points)
    assert torch.allclose(codes.mean(0), torch.zeros(2), atol=1e-4)
    assert torch.allclose(codes.T.cov(correction=0), torch.eye(2), atol=1e-4)
    assert torch.allclose(basis.synthesise(codes), points, atol=1e-4)
    assert basis.deviations[0] > basis.deviations[1]


def test_what_does_not_vary_has_codes_of_zero():
    basis = Basis(3, 3)
    basis.add(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 3.0]]))
    basis.fit()
    codes = basis.analyse(torch.tensor([[1.0, 2.0, 3.0]]))
    assert codes.abs().tolist()[0] == pytest.approx([1, 0, 0], abs=1e-4)


def test_nothing_to_fit_and_too_many_components_are_refused():
    with pytest.raises(ValueError, match="add some first"):
        Basis(3, 2).fit()
    with pytest.raises(ValueError, match="3 values have no 4 components"):
        Basis(3, 4)


def test_untrained_directions_are_orthonormal():
    vectors = Basis(9, 4).vectors
    assert torch.allclose(vectors.T @ vectors, torch.eye(4), atol=1e-5)
