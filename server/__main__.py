"""`python -m server` is the `quartermaster` command."""

from server.cli import main

main()
