"""What is done on the machine itself, beside the API: the database, nodes, people, child processes."""
