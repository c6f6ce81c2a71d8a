"""Policy rules in oslo.policy's language: who may do what."""
