"""What each resource does around plain CRUD."""
