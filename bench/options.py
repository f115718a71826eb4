"""What the benchmarks' command lines take."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number from 1. argparse tells what was wrong of any other."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def positives(text: str) -> list[int]:
    """Such numbers with commas between them."""
    return [positive(part) for part in text.split(",")]
