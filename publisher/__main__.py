"""`python -m publisher` is `imi-registry`."""

from publisher.cli import main

main()
