"""What every noun stands on: errors, ids, scopes, SQL, the outbox, pages, blobs and secrets."""
