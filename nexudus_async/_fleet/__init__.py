"""How many processes keep one token fresh, through a store that they share."""
