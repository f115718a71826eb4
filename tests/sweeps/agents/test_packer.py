"""Slots that are added and taken out while trials run, on the CPU and with real trials; sleep makes their speed."""

from __future__ import annotations

from pathlib import Path

from .desk import Desk, until

# Each as fast as if it were alone; or, with the file "shared", much slower beside another.
STEPS = """
    import pathlib, time
    import wandb
    here = pathlib.Path()
    run = wandb.init(settings=wandb.Settings(x_file_stream_transmit_interval=1))  # else rows come every 15 s
    ready, full = here / f"{run.id}.ready", here / f"{run.id}.full"
    ready.touch()
    while not (here / "finish").exists():
        others = len(list(here.glob("*.ready"))) - 1
        time.sleep(0.7 if others and (here / "shared").exists() else 0.1)
        run.log({"score": run.config.lr})
        if full.exists():
            full.unlink()
            raise MemoryError
    ready.unlink()
    run.finish()
"""
TWO = "cpu has 2 trials at a time now\n"


def test_a_slot_is_added_where_it_pays_and_goes_when_memory_runs_out(desk: Desk) -> None:
    agents = desk.agents(desk.sweep(STEPS), "--cpu-slots", "auto", "--retries", "0")
    until(desk.there("*.ready", 2), 90)
    words = desk.words()
    assert "started on cpu:0" in words and TWO in words and "started on cpu:1" in words
    second = words.rpartition("trial ")[2].split()[0]
    Path(desk.folder, f"{second}.full").touch()
    until(lambda: "cpu has 1 trial at a time now: 2 trials did not fit into the memory" in desk.words())
    (desk.folder / "finish").touch()
    code, data, words = desk.outcome(agents, 90)
    assert (code, data["finished"], data["failed"]) == (0, 3, 0), words  # what was crowded out is tried again, and not
    assert words.count(f"trial {second} started on cpu:") == 2  # counted as one of --retries


def test_a_slot_that_does_not_pay_goes_again(desk: Desk) -> None:
    (desk.folder / "shared").touch()
    agents = desk.agents(desk.sweep(STEPS), "--cpu-slots", "auto")
    until(lambda: "cpu has 1 trial at a time now: 2 trials do " in desk.words(), 120)
    assert TWO in desk.words()
    (desk.folder / "finish").touch()
    code, data, words = desk.outcome(agents, 90)
    assert (code, data["finished"]) == (0, 3), words
    assert words.count("started on cpu:1") == 1 and words.count("started on cpu:0") == 2
