"""`python -m flowtrail` is the command `flowtrail`, where its script is not on the path."""

from flowtrail.cli import main

if __name__ == "__main__":
    main()
