"""Dead letters of subscriptions: events whose handler kept failing, and what people do with them."""

from registry.dead_letters.desk import DeadLetterDesk
from registry.dead_letters.letter import DeadLetter, Failure, Redelivery
from registry.dead_letters.record import Action, Record

__all__ = ["Action", "DeadLetter", "DeadLetterDesk", "Failure", "Record", "Redelivery"]
