"""The compiled module. It finds torch's libraries in the process, so torch is imported first."""
import torch  # noqa: F401

from . import _native as native  # noqa: F401
