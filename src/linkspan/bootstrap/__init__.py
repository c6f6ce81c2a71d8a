"""Assembles the program: the command line, the wiring of real parts, and the processes of the service."""
