"""A deterministic simulation of the Database API, its faults and its other users, in virtual time.

The service is written from the description of the API alone. Nothing in this package, apart from the harness that runs
the client, imports the client.
"""
