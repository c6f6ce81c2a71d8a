"""Gateway nodes: assignment, the desired state they read, their reports, tombstones."""
