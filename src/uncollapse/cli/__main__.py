"""`python -m uncollapse.cli`."""

from uncollapse.cli import main

if __name__ == "__main__":
    main()
