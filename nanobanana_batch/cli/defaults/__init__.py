"""What holds where the command line says nothing: variables of the environment, then `nanobanana.toml`."""
