"""One person's limits over several runs at once: what each tells, what each may do, and who decides that."""
