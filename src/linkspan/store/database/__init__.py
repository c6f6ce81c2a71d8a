"""The database itself: engine, statements, tables, clock and error translation."""
