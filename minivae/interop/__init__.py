"""Trained models in the formats of other programs: ONNX, and weights as PyTorch names them."""
