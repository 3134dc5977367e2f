"""`python -m finetune`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from finetune.cli import run  # noqa: PLC0415 - nothing is imported before it is asked for

    raise SystemExit(run())


if __name__ == "__main__":
    main()
