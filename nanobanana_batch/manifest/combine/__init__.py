"""Rows times factors, less what is excluded, and with what is included: counted, walked and drawn from."""
