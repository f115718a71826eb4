"""Agents: a host's slots, W&B's agent protocol, and trials that leave no process behind."""
