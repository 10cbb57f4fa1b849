"""Export trained models to other programs: ONNX, and safetensors with PyTorch's names."""
