"""What trainers, spreadsheets and people load: a finished run in the form that their programs read."""
