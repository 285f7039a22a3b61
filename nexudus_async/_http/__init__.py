"""How requests carry the token."""
