"""Fused operations: `<op>_reference` in PyTorch is the specification, `<op>` picks its kernel on CUDA."""
