"""What holds where the command line says nothing: variables of the environment, then `nanobanana.toml`."""

PREFIX = "NANOBANANA_BATCH_"
"""Of the names of variables."""
