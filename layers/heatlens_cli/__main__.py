"""Run the command line as `python -m heatlens_cli`."""

from heatlens_cli.main import app

if __name__ == "__main__":
    app()
