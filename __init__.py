"""sweepkit: Weights & Biases sweeps anywhere, on W&B's servers or with no account and no network."""

__version__ = "0.1.0"
