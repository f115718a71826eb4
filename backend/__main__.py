"""``python -m sweepkit.backend``: the server process. ``daemon.start`` runs it in the background."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from ..errors import SweepkitError


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code 0, or that of the error which is then on stderr in one message."""
    options = _options()
    if options.home:
        os.environ["SWEEPKIT_HOME"] = str(Path(options.home).expanduser().absolute())
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a search's matrices are small, and trials want the cores
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from .process import serve

    try:
        serve(options.port)
    except SweepkitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sweepkit.backend", description="The embedded backend.")
    parser.add_argument("--home", help="the data folder (else SWEEPKIT_HOME, else the platform's)")
    parser.add_argument("--port", type=int, help="the port on 127.0.0.1 (0: any; else the last one, if free)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
