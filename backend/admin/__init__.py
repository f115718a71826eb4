"""What the backend's keeper does while it runs: users, backups, collecting garbage. For administrators only."""
