"""Weights of the released SGMSE+ and StoRM networks, whose layers are numbered, as those of our `NCSNpp`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from audiogen.nn.ncsnpp import Attention, NCSNpp, ResidualBlock

RESIDUAL = {
    "norm1": "GroupNorm_0",
    "conv1": "Conv_0",
    "level": "Dense_0",
    "norm2": "GroupNorm_1",
    "conv2": "Conv_1",
    "shortcut": "Conv_2",
}
ATTENTION = {"norm": "GroupNorm_0", "query": "NIN_0", "key": "NIN_1", "value": "NIN_2", "out": "NIN_3"}


def numbered(net: NCSNpp) -> Iterator[tuple[str, nn.Module]]:
    """Our modules, with their names, in the order in which the released code numbers its own from 3 on.

    Before them are the Fourier features and two linear layers, or the features alone without a noise level.
    """
    modules = dict(net.named_modules())
    names = ["stem"]
    level: Any
    for i, level in enumerate(net.down):
        if i:
            names += [f"shrink.{i - 1}", f"combine.{i - 1}"]
        for j in range(len(level.blocks)):
            names += [f"down.{i}.blocks.{j}"]
            names += [f"down.{i}.attentions.{j}"] * bool(level.attentions)
    names += ["middle.0", "attention", "middle.1"]
    for i, level in enumerate(net.up):
        names += [f"grow.{i - 1}"] * bool(i)
        names += [f"up.{i}.blocks.{j}" for j in range(len(level.blocks))]
        names += [f"up.{i}.attentions.{j}" for j in range(len(level.attentions))]
        names += [f"norms.{i}", f"planes.{i}"]
    return ((name, modules[name]) for name in names)


def from_release(state: Mapping[str, Tensor], net: NCSNpp) -> dict[str, Tensor]:
    """The state dict of `net` from that of a released network of the same sizes ("all_modules.N. ...").

    Layers for a noise level that an untimed network holds without using them are left out. Raises ValueError
    for a tensor that is missing.
    """
    found: dict[str, Tensor] = {}

    def take(ours: str, theirs: str, *, transposed: bool = False) -> None:
        if theirs not in state:
            raise ValueError(f"the released network lacks {theirs}: were its sizes others than {ours} needs?")
        found[ours] = state[theirs].T.contiguous() if transposed else state[theirs]

    timed = hasattr(net, "embed")
    if timed:
        take("frequencies", "all_modules.0.W")
    for k in range(2 if timed else 0):
        for part in ("weight", "bias"):
            take(f"embed.{k}.{part}", f"all_modules.{k + 1}.{part}")
    for number, (name, module) in enumerate(numbered(net), start=3 if timed else 1):
        root = f"all_modules.{number}"
        for part in module.state_dict():
            layer, _, kind = part.rpartition(".")
            if isinstance(module, ResidualBlock):
                take(f"{name}.{part}", f"{root}.{RESIDUAL[layer]}.{kind}")
            elif isinstance(module, Attention) and layer != "norm":
                theirs = f"{root}.{ATTENTION[layer]}.{'W' if kind == 'weight' else 'b'}"
                take(f"{name}.{part}", theirs, transposed=kind == "weight")
            elif isinstance(module, Attention):
                take(f"{name}.{part}", f"{root}.{ATTENTION[layer]}.{kind}")
            else:
                inner = "Conv_0." if name.startswith("combine") else ""
                take(f"{name}.{part}", f"{root}.{inner}{kind}")
    for part in ("weight", "bias"):
        take(f"out.{part}", f"output_layer.{part}")
    return found
