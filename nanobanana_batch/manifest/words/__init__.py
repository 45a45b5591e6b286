"""What words mean and how they are written: names, templates with their filters, ids."""
