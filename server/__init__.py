"""How it runs: the Starlette app, REST routes, GraphiQL, the auth edge, settings and the command line."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("quartermaster")
except PackageNotFoundError:  # run from a checkout that was not installed
    VERSION = "0.0.0"
