"""How it runs: the Starlette app, REST routes, GraphiQL, the auth edge, settings and the command line."""
