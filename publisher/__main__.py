"""`python -m publisher` is `imi-registry`."""

from publisher.cli.main import main

main()
