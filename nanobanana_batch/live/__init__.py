"""What a run does just now, as one value that a screen shows and that another process can read."""
