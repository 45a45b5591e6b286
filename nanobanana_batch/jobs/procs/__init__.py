"""`--procs N`: the shards of one manifest in so many processes of this machine, told as one run."""
