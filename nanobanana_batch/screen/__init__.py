"""What people see of a run while it is going, on a terminal or in a log."""
