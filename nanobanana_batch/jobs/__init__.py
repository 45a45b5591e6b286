"""What each command does: the rooms are opened, joined and left in order here."""
