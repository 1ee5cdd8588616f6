"""`python -m compiler` is the program `compiler`."""

from compiler.cli import program

if __name__ == "__main__":
    program()
