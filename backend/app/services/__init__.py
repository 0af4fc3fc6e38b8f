"""Use cases. They take a session and flush; the caller owns the transaction and commits."""
