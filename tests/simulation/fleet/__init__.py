"""Days of a fleet: two or three processes with one account, a store that they share, and clocks that differ."""
