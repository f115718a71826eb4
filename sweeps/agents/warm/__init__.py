"""Warm trials: a server that has imported what the program imports, and forks a trial at a time.

``plan.py`` (can this command be warm?) and ``launcher.py`` work in the agent. ``sitecustomize.py`` leads a fresh
interpreter into ``server.py``, which imports what ``imports.py`` finds; ``standby.py`` is the guard of the next trial,
``service.py`` its wandb process, ``birth.py`` makes a fork a trial like any other, and ``ending.py`` lets its end leave
alone what was not its own. ``pages.py`` makes forks cheap.
"""
