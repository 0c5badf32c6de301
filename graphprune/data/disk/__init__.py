"""Data sets in folders of memory-mapped tensors: written once, then read without being held in memory."""
