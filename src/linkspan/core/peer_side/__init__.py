"""The peer's side of a connection: what its administrator has to enter, and how a configuration of theirs differs."""
