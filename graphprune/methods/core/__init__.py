"""What the methods share: the frame of a method, its rounds, its trainings, its state."""
