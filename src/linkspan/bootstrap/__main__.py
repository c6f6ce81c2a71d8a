"""`python -m linkspan.bootstrap`: the command line where no console script is installed."""

from linkspan.bootstrap.command_line import main

if __name__ == "__main__":
    main()
