"""The process of one shard."""

from nanobanana_batch.jobs.procs.child import main

main()
