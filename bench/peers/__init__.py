"""What answers the same queries from the same database: for `bench/graphql.py`, each a process of its own.

Each takes the database's URL, a port and the client whose devices are asked for.
"""
