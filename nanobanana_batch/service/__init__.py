"""The embedded API service: importing it costs nothing; what it needs is loaded where it runs.

A command uses `options.ServiceOptions` with `embedded.EmbeddedService` (a child process) or `server.serve`
(this process); a test judges with `ledger.read_ledger`.
"""
