"""Where the real parts are put together: the command line, wiring, and the processes of the service."""
