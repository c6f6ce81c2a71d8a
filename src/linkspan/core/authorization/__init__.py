"""Authorization: policy rules in oslo.policy's language, and their evaluation for the API."""
