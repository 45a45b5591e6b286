"""What happens to a row, in order: sent, found out about, waited for, made a file."""
