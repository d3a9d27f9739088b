"""Makes this checkpoint and its goldens by transformers (5.18, float32, eager attention).

    python make.py TOKENIZER OUT

TOKENIZER has the tokenizer of one of the other small checkpoints. Weights are rounded to bfloat16, and large enough that a wrong choice of experts shows at once.
The first prompt tokens of the generation are those of the first sequence.
"""
import pathlib, shutil, sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AXK1Config, AXK1ForCausalLM


def main(tokenizer, out):
    torch.manual_seed(1)
    config = AXK1Config(
        vocab_size=512, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
        n_shared_experts=1, n_routed_experts=12, n_group=3, topk_group=2, num_experts_per_tok=3, routed_scaling_factor=1.7, norm_topk_prob=True,
        q_lora_rank=48, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, first_k_dense_replace=1, rms_norm_eps=1e-5,
        max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=2, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    model = AXK1ForCausalLM._from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("inv_freq"):
                continue
            if "norm" in name:
                made = 1 + 0.3 * torch.randn_like(values)
            elif "e_score_correction_bias" in name:
                made = 0.1 * torch.randn_like(values)
            else:
                made = torch.randn_like(values) * (1.5 if name.endswith("gate.weight") else 1) * values.shape[-1] ** -0.5
            values.copy_(made.bfloat16().float())
        ids = torch.randint(3, 512, (2, 96))
        logits = model(ids).logits
        generated = ids[:1, :24]
        while generated.shape[1] < 64:
            generated = torch.cat([generated, model(generated).logits[:, -1].argmax(-1, keepdim=True)], 1)
    out.mkdir(exist_ok=True)
    model.bfloat16().save_pretrained(out)
    tensors = load_file(out / "model.safetensors")
    assert "model.layers.1.post_mlp_layernorm.weight" in tensors and "model.layers.0.post_mlp_layernorm.weight" not in tensors
    again = AXK1ForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        assert torch.equal(again(ids).logits, logits)
    save_file({"input_ids": ids.int(), "logits": logits, "generated": generated.int()}, out / "golden.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, out / name)


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
