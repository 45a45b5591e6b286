"""The process of one shard."""

from nanobanana_batch.jobs.procs.child import main

if __name__ == "__main__":
    main()
