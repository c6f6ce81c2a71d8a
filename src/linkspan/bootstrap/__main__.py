"""Runs the command line as `python -m linkspan.bootstrap`, without the console script."""

from linkspan.bootstrap.command_line import main

if __name__ == "__main__":
    main()
