"""The service: the engine behind HTTP on this machine, in a front process and a worker process."""
