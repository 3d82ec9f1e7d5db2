"""`python -m gmme_edge`: the command line where the script `gmme-edge` is not on the path."""

from gmme_edge.cli.app import main

if __name__ == "__main__":
    main()
