"""The command line that speaks HTTP only: commands generated from the registry, rendering, client."""
