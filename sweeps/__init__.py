"""A sweep from YAML to winner: the library, the specification, the agents, choosing, promoting, comparing."""
