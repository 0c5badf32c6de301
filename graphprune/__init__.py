"""The public face of graphprune: names only, each loaded when it is first used; ``__init__.pyi`` lists them.

``import graphprune as gp`` imports nothing else, neither torch nor any optional package: the command line
answers at once, and a missing extra is reported by the part that needs it.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
