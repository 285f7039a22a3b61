"""How fast requests may go."""
