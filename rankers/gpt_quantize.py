"""Weights of the scoring copy in eight or four bits, by torchao; activations stay as they are.

Weight-only quantisation saves memory: a matrix is widened again just before its product. So passes
over hundreds of tokens, which arithmetic bounds and not memory, become no faster (8 % slower on a
CPU with int8). The last matrix is left alone: it is the embedding, too, and decides the scores.
"""

from __future__ import annotations

from typing import Any

from fusion.errors import ConfigError, DependencyError, explain

__all__ = ["quantized"]

#: numbers that share one scale in int4, the first that divides a matrix's width; what torchao takes
_GROUPS = (128, 64, 32)


def quantized(model: Any, weights: str) -> Any:
    """``model`` with its matrices in ``weights``, in place; embeddings and head stay.

    Args:
        model: a causal LM where it will be asked, LoRA merged.
        weights: ``int8`` (one scale a row of a matrix) or ``int4`` (one a group of 32 to 128
            numbers; on CUDA only, in bfloat16 only).

    Raises:
        DependencyError: torchao is missing.
        ConfigError: int4 elsewhere than on CUDA: torchao 0.18 keeps packed four-bit matrices and
            their product for GPUs only, and unpacked ones would save nothing.
    """
    import torch

    try:
        from torchao.quantization import (
            Int4WeightOnlyConfig,
            Int8WeightOnlyConfig,
            quantize_,
        )
    except ImportError as error:
        raise DependencyError(
            explain("gpt with quantised weights", "the package torchao", "none",
                    "pip install 'recfusion[quantized]'")
        ) from error  # fmt: skip
    parameter, head = next(model.parameters()), model.get_output_embeddings()
    fits = parameter.device.type == "cuda" and parameter.dtype == torch.bfloat16
    if weights == "int4" and not fits:
        raise ConfigError(
            explain("gpt", "CUDA and bfloat16 for weights: int4",
                    f"{parameter.device.type} and {str(parameter.dtype).removeprefix('torch.')}",
                    "use weights: int8, which runs everywhere, or none")
        )  # fmt: skip

    def matrix(module: Any, _: str = "") -> bool:
        return isinstance(module, torch.nn.Linear) and module is not head

    if not any(map(matrix, model.modules())):
        raise ConfigError(
            explain("gpt", "linear layers to quantise", f"none in {type(model).__name__}",
                    "use weights: none")
        )  # fmt: skip
    if weights == "int8":
        quantize_(model, Int8WeightOnlyConfig(set_inductor_config=False), filter_fn=matrix)
        return model
    for group in _GROUPS:  # what a larger group has taken is no plain tensor any more
        config = Int4WeightOnlyConfig(
            group_size=group, int4_packing_format="tile_packed_to_4d", set_inductor_config=False
        )
        quantize_(
            model,
            config,
            filter_fn=lambda module, name, group=group: (
                matrix(module)
                and type(module.weight.data) is torch.Tensor
                and module.in_features % group == 0
            ),
        )
    return model
