"""Requests out, answers in: what is sent for an operation, and what an answer means. No I/O."""
