"""The language of programs, which lives in `partwise.programs.language`."""

from partwise.programs.language import Program, Value, Words, parse_program

__all__ = ["Program", "Value", "Words", "parse_program"]
