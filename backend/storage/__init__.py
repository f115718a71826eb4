"""What the backend keeps: rows in SQLite (one writer) and content-addressed blobs."""
