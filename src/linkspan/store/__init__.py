"""Durable state: tables, revisions, envelopes, and one transaction per request."""
