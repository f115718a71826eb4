"""The embedded W&B-compatible backend: GraphQL, file stream, files, artifacts, sweep search and pages."""
