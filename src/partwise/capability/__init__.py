"""What was lost: the original loss and accuracy, held out."""

from partwise.capability.held_out import HeldOut, held_out

__all__ = ["HeldOut", "held_out"]
