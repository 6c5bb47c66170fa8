"""Image encoders: SAM ViT, TinyViT, Hiera, EfficientNet; sizes, LoRA adapters, sharing.

`pool.EncoderPool` builds each SAM encoder once; `specs` has sizes and arguments, `lora` the
adapters.
"""
