"""Networks, one idea per file."""
