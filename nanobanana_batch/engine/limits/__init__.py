"""How much, how fast and for how long: what says that something is not to be done now."""
