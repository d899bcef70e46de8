"""A device that runs kernels: the GPU, or the CPU within Triton's interpreter."""

import pytest
import torch


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=pytest.mark.interpreter),
        pytest.param("cuda", marks=pytest.mark.cuda),
    ]
)
def device(request):
    """Where the test's kernels run, whether or not a reference would do."""
    if request.param == "cuda":
        yield torch.device("cuda")
        return
    from audiogen.kernels.backend import interpreted

    with interpreted():
        yield torch.device("cpu")
