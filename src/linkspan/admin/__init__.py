"""Administration on the machine itself, without the API: database, nodes, accounts, policy file, child processes."""
