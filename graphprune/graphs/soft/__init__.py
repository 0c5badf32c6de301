"""Soft removal: gates between 0 and 1 on the edges of a network, convolution by convolution."""
