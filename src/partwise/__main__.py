"""`python -m partwise` is the command line."""

from partwise.cli import main

main()
