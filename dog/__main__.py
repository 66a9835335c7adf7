"""`python -m dog`, the same as `dog`."""

from dog.cli import main

if __name__ == "__main__":
    main(prog_name="dog")
