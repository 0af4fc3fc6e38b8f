"""Use-cases. They take a session and flush; they never commit: that is for the caller's edge."""
