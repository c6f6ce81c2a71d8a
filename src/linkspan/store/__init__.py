"""What is durable: tables, revisions, envelopes, and one transaction for each request."""
