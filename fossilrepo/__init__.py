"""fossilrepo: host your own Fossil repositories from one process."""

__version__ = "0.1.0"
