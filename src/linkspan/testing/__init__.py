"""Implementations of `drivers.ports` in memory, for tests of the agent."""
