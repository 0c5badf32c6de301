"""Tickets: what one round found, saved as safetensors and JSON and never as pickle."""

from graphprune.graphs.sparsifiers import SCORERS
from graphprune.ticket.ticket import Ticket

__all__ = ["SCORERS", "Ticket"]
