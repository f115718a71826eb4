"""``python -m sweepkit.trainer [--key=value ...]``: train one trial."""

from __future__ import annotations

import sys

from .train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
