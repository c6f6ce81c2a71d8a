"""Foretelling: what a change of the desired state will do to the tunnels of a gateway, by the functions that do it."""
