"""How the token endpoint is asked."""
