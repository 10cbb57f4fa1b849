"""What a model is worth: bounds on its likelihood, and what its codes hold.

Every estimator takes images in batches of any sizes, and gives the same bits for all of them.
"""

from .bounds import IMPORTANCE, NLL, importance_weighted_nll

__all__ = ["IMPORTANCE", "NLL", "importance_weighted_nll"]
