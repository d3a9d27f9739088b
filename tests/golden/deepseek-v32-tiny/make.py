"""Makes the checkpoints and goldens of deepseek-v32-tiny and glm-moe-dsa-tiny, in float64 by numpy.

    python make.py DIRECTORY OUT [SHARED_LAYER ...]

DIRECTORY has a checkpoint with goldens that transformers (5.17) computed: they are reproduced first. Then its first two layers are written to OUT, with goldens of their own.

Why not transformers' own: of these small models many index scores are exactly 0 (no head's product is positive), and which of equal scores torch.topk chooses follows
from how std::nth_element of libstdc++ goes about it. That is what is reproduced; here, the first of equal scores are chosen, and goldens are computed so.
"""
import json, pathlib, shutil, struct, sys
import numpy as np


def read(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    types = {"F32": np.float32, "I32": np.int32}
    cut = lambda begin, end: data[8 + length + begin : 8 + length + end]
    return {name: np.frombuffer(cut(*info["data_offsets"]), types[info["dtype"]]).reshape(info["shape"]) for name, info in header.items()}


def write(path, tensors):
    header, at = {}, 0
    for name, values in tensors.items():
        kind = {"float32": "F32", "int32": "I32"}[values.dtype.name]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(values.tobytes() for values in tensors.values()))


def first_of_equals(scores, count):
    return np.lexsort((np.arange(len(scores)), -scores))[:count]


def as_torch(scores, count):
    """torch.topk on a CPU: std::nth_element of (score, index) by descending score."""
    queue = [(float(score), index) for index, score in enumerate(scores)]
    before = lambda a, b: a[0] > b[0]
    first, last, nth = 0, len(queue), count - 1
    if nth >= last:
        return [index for _, index in queue]
    depth = 2 * (last.bit_length() - 1)
    while last - first > 3:
        if depth == 0:
            heap_select(queue, first, nth + 1, last, before)
            queue[first], queue[nth] = queue[nth], queue[first]
            return [index for _, index in queue[:count]]
        depth -= 1
        a, b, c = first + 1, first + (last - first) // 2, last - 1
        if before(queue[a], queue[b]):
            median = b if before(queue[b], queue[c]) else c if before(queue[a], queue[c]) else a
        else:
            median = a if before(queue[a], queue[c]) else c if before(queue[b], queue[c]) else b
        queue[first], queue[median] = queue[median], queue[first]
        pivot, low, high = queue[first], first + 1, last
        while True:
            while before(queue[low], pivot):
                low += 1
            high -= 1
            while before(pivot, queue[high]):
                high -= 1
            if low >= high:
                break
            queue[low], queue[high] = queue[high], queue[low]
            low += 1
        first, last = (low, last) if low <= nth else (first, low)
    queue[first:last] = sorted(queue[first:last], key=lambda of: -of[0])
    return [index for _, index in queue[:count]]


def heap_select(queue, first, middle, last, before):
    length = middle - first

    def sift(hole, value):
        top, child = hole, hole
        while child < (length - 1) // 2:
            child = 2 * (child + 1)
            if before(queue[first + child], queue[first + child - 1]):
                child -= 1
            queue[first + hole], hole = queue[first + child], child
        if length % 2 == 0 and child == (length - 2) // 2:
            child = 2 * child + 1
            queue[first + hole], hole = queue[first + child], child
        parent = (hole - 1) // 2
        while hole > top and before(queue[first + parent], value):
            queue[first + hole], hole = queue[first + parent], parent
            parent = (hole - 1) // 2
        queue[first + hole] = value

    for parent in range((length - 2) // 2, -1, -1):
        sift(parent, queue[first + parent])
    for at in range(middle, last):
        if before(queue[at], queue[first]):
            value, queue[at] = queue[at], queue[first]
            sift(0, value)


class Model:
    def __init__(self, config, tensors):
        self.config = config
        self.tensors = {name: values.astype(np.float64) for name, values in tensors.items()}
        width, rope = config["qk_rope_head_dim"], config["rope_parameters"]
        self.frequencies = rope["rope_theta"] ** (-np.arange(0, width, 2) / width)
        self.scale = (config["qk_nope_head_dim"] + width) ** -0.5
        if rope["rope_type"] == "yarn":
            pair = lambda turns: width * np.log(rope["original_max_position_embeddings"] / (turns * 2 * np.pi)) / (2 * np.log(rope["rope_theta"]))
            low, high = max(np.floor(pair(rope["beta_fast"])), 0), min(np.ceil(pair(rope["beta_slow"])), width - 1)
            ramp = np.clip((np.arange(width // 2) - low) / (high - low if high > low else 0.001), 0, 1)
            self.frequencies = self.frequencies / rope["factor"] * ramp + self.frequencies * (1 - ramp)
            assert rope["mscale"] == rope["mscale_all_dim"]
            self.scale *= (0.1 * rope["mscale_all_dim"] * np.log(rope["factor"]) + 1) ** 2

    def times(self, x, name):
        return x @ self.tensors[f"{name}.weight"].T

    def norm(self, x, name, eps):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.tensors[f"{name}.weight"]

    def rotate(self, x, interleaved):
        pairs = len(self.frequencies)
        angles = (np.arange(len(x))[:, None] * self.frequencies).reshape((len(x),) + (1,) * (x.ndim - 2) + (pairs,))
        a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :pairs], x[..., pairs:])
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)

    def choose(self, prefix, h, queries, choose):
        config, tokens = self.config, len(h)
        heads, width, rope = config["index_n_heads"], config["index_head_dim"], config["qk_rope_head_dim"]
        rotate = lambda x: np.concatenate([self.rotate(x[..., :rope], config["model_type"] == "glm_moe_dsa"), x[..., rope:]], -1)
        q = rotate(self.times(queries, f"{prefix}.wq_b").reshape(tokens, heads, width))
        k = self.times(h, f"{prefix}.wk")
        k = (k - k.mean(-1, keepdims=True)) / np.sqrt(k.var(-1, keepdims=True) + 1e-6)
        k = rotate(k * self.tensors[f"{prefix}.k_norm.weight"] + self.tensors[f"{prefix}.k_norm.bias"])
        weights = self.times(h, f"{prefix}.weights_proj") * heads**-0.5 * width**-0.5
        scores = np.einsum("sh,sht->st", weights, np.maximum(np.einsum("shd,td->sht", q, k), 0))
        chosen = np.full((tokens, tokens), -np.inf)
        for row in range(tokens):
            seen = np.where(np.arange(tokens) <= row, scores[row], -3e38)
            at = [t for t in choose(seen, min(config["index_topk"], tokens)) if t <= row]
            chosen[row, at] = 0
        return chosen

    def attend(self, layer, h, chosen, choose):
        config, prefix, tokens = self.config, f"model.layers.{layer}.self_attn", len(h)
        heads, nope, rope, value = (config[name] for name in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        queries = self.norm(self.times(h, f"{prefix}.q_a_proj"), f"{prefix}.q_a_layernorm", 1e-6)
        if config.get("indexer_types", ["full"] * (layer + 1))[layer] == "full":
            chosen = self.choose(f"{prefix}.indexer", h, queries, choose)
        q = self.times(queries, f"{prefix}.q_b_proj").reshape(tokens, heads, nope + rope)
        down = self.times(h, f"{prefix}.kv_a_proj_with_mqa")
        latents = self.norm(down[:, : config["kv_lora_rank"]], f"{prefix}.kv_a_layernorm", 1e-6)
        up = self.times(latents, f"{prefix}.kv_b_proj").reshape(tokens, heads, nope + value)
        key = self.rotate(down[:, config["kv_lora_rank"] :], True)
        scores = np.einsum("shd,thd->hst", q[..., :nope], up[..., :nope]) + np.einsum("shd,td->hst", self.rotate(q[..., nope:], True), key)
        scores = scores * self.scale + chosen
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        out = np.einsum("hst,thd->shd", weights, up[..., nope:]).reshape(tokens, -1)
        return self.times(out, f"{prefix}.o_proj"), chosen

    def feed_forward(self, prefix, h):
        gate = self.times(h, f"{prefix}.gate_proj")
        return self.times(gate / (1 + np.exp(-gate)) * self.times(h, f"{prefix}.up_proj"), f"{prefix}.down_proj")

    def experts(self, prefix, h):
        config = self.config
        experts, groups, active = config["n_routed_experts"], config["n_group"], config["num_experts_per_tok"]
        scores = 1 / (1 + np.exp(-self.times(h, f"{prefix}.gate")))
        choice = scores + self.tensors[f"{prefix}.gate.e_score_correction_bias"]
        out = self.feed_forward(f"{prefix}.shared_experts", h)
        for row in range(len(h)):
            grouped = choice[row].reshape(groups, -1)
            best = np.argsort(-np.sort(grouped, -1)[:, -2:].sum(-1), kind="stable")[: config["topk_group"]]
            allowed = np.where(np.isin(np.arange(experts) // (experts // groups), best), choice[row], -np.inf)
            taken = np.argsort(-allowed, kind="stable")[:active]
            gates = scores[row, taken] / (scores[row, taken].sum() + 1e-20 if config["norm_topk_prob"] else 1) * config["routed_scaling_factor"]
            for expert, gate in zip(taken, gates):
                out[row] += gate * self.feed_forward(f"{prefix}.experts.{expert}", h[row])
        return out

    def logits(self, tokens, choose):
        config, eps, chosen = self.config, self.config["rms_norm_eps"], None
        x = self.tensors["model.embed_tokens.weight"][tokens]
        for layer in range(config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}"
            attended, chosen = self.attend(layer, self.norm(x, f"{prefix}.input_layernorm", eps), chosen, choose)
            x = x + attended
            h = self.norm(x, f"{prefix}.post_attention_layernorm", eps)
            x = x + (self.feed_forward if layer < config["first_k_dense_replace"] else self.experts)(f"{prefix}.mlp", h)
        return self.times(self.norm(x, "model.norm", eps), "lm_head")


def main(source, out, shared):
    source, out = pathlib.Path(source), pathlib.Path(out)
    config, tensors, golden = json.loads((source / "config.json").read_text()), read(source / "model.safetensors"), read(source / "golden.safetensors")
    whole = Model(config, tensors)
    again = np.stack([whole.logits(ids, as_torch) for ids in golden["input_ids"]])
    error = np.linalg.norm(again - golden["logits"]) / np.linalg.norm(golden["logits"])
    print("transformers' logits, with torch's choice among equals:", error)
    assert error < 5e-6

    layers = 2
    config["num_hidden_layers"] = layers
    for name in ("layer_types", "mlp_layer_types"):
        config[name] = config[name][:layers]
    if "indexer_types" in config:
        config["indexer_types"] = ["shared" if layer in shared else "full" for layer in range(layers)]
    gone = tuple([f"model.layers.{layers}."] + [f"model.layers.{layer}.self_attn.indexer." for layer in shared])
    tensors = {name: values for name, values in tensors.items() if not name.startswith(gone)}
    model = Model(config, tensors)
    ids = golden["input_ids"]
    logits = np.stack([model.logits(row, first_of_equals) for row in ids])
    generated = list(golden["generated"][0, :24])
    while len(generated) < 64:
        generated.append(int(model.logits(np.array(generated), first_of_equals)[-1].argmax()))
    out.mkdir(exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write(out / "model.safetensors", tensors)
    write(out / "golden.safetensors", {"logits": logits.astype(np.float32), "generated": np.array([generated], np.int32), "input_ids": ids})
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, out / name)


main(sys.argv[1], sys.argv[2], [int(layer) for layer in sys.argv[3:]])
