from .reference import fit_reference as fit_reference
from .regression import fit_regression as fit_regression

__all__ = ["fit_reference", "fit_regression"]
