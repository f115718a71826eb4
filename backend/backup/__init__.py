"""Backups: what one file of them holds, how a command writes and restores one, how a store takes another's place."""
