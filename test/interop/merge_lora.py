"""Merges LoRAs as PEFT saved them into safetensors with NumPy, and prints the sha256 of every tensor as JSON.

merge_lora.py BASE.safetensors SCALE=FOLDER [SCALE=FOLDER ...]
"""
import hashlib
import json
import math
import sys

import numpy as np
from safetensors.numpy import load_file


def product(b, a):
    """B @ A, each element summed up over the rank in order, rounded to float32 at each step."""
    total = np.zeros((b.shape[0], a.shape[1]), np.float32)
    for k in range(b.shape[1]):
        step = b[:, k : k + 1].astype(np.float64) * a[k : k + 1].astype(np.float64)
        total = (total.astype(np.float64) + step).astype(np.float32)
    return total


weights = load_file(sys.argv[1])
wide = {name: value.astype(np.float32) for name, value in weights.items()}
for argument in sys.argv[2:]:
    scale, folder = argument.split("=", 1)
    with open(f"{folder}/adapter_config.json") as file:
        config = json.load(file)
    rank = config["r"]
    scaling = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    pairs = load_file(f"{folder}/adapter_model.safetensors")
    for key, a in pairs.items():
        if not key.endswith(".lora_A.weight"):
            continue
        b = pairs[key.replace("lora_A", "lora_B")]
        name = key.removeprefix("base_model.model.").replace(".lora_A", "")
        wide[name] = wide[name] + np.float32(float(scale) * scaling) * product(b, a)
merged = {name: wide[name].astype(value.dtype) for name, value in weights.items()}
print(json.dumps({name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in merged.items()}))
