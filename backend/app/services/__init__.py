"""Use-cases. They take a session and flush; they never commit: that happens at the caller's edge."""
