"""Settings that every test shares."""

import os

# Several test processes share the machine: one thread each, and the same for the commands that tests start.
# This has to stand before anything imports torch, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci")
