"""What is true: tables, rules and SQL, one package per noun, with `kit` underneath.

Nothing here knows of GraphQL, HTTP, Dramatiq or settings; the floors above pass in what is needed.
"""
