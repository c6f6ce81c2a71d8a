"""Two sites in namespaces of one machine, for the demonstration and the tests."""
