from .auditing import audit
from .data import open_dataset
from .evaluation import compare, evaluate
from .explanations import explain
from .models import load_classifier
from .retuning import retune

__version__: str

__all__ = ["__version__", "audit", "compare", "evaluate", "explain", "load_classifier", "open_dataset", "retune"]
