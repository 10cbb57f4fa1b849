"""The differentiable operations: one small class each, forward and backward side by side."""
