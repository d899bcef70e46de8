"""A vocoder on all kernels together."""

import pytest
import torch

from audiogen.spectral import MelSpec
from audiogen.vocoders.pool import VocosPool
from audiogen.vocoders.vocos import Vocos

SPEC = MelSpec(n_mels=4, n_fft=8, win_length=8, hop_length=4)


@pytest.mark.parametrize("streams", [1, 5], ids=["rows", "tiles"])
def test_a_pool_on_the_kernels_is_a_whole_pass(device, streams):
    torch.manual_seed(0)
    vocos = Vocos(SPEC, 8, 12, 2, n_fft=16, causal=True)
    torch.nn.init.constant_(vocos.blocks[0].scale, 1.0)
    mel = torch.randn(streams, 4, 6)
    with torch.no_grad():
        expected = vocos.decode(mel)[:, 0]
    pool = VocosPool(vocos.to(device), streams)
    slots = [pool.open() for _ in range(streams)]
    audio = torch.cat([pool.step(slots, frame.to(device)) for frame in mel.unbind(2)], dim=1).cpu()
    ends = torch.stack([pool.close(slot).cpu() for slot in slots])
    assert torch.allclose(torch.cat((audio, ends), dim=1)[:, pool.delay * 4 :], expected, atol=1e-5)
