"""``python -m sweepkit``: the same as the ``sweepkit`` command."""

from .cli import main

main()
