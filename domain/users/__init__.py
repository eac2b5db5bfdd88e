"""People who sign in, their sessions, and how a credential becomes a principal with permissions."""
