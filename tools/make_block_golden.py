#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/block_types.txt: random quantised blocks and their values as the Python package `gguf` sees them.

Usage: make_block_golden.py > tests/golden/block_types.txt   (needs: pip install gguf==0.19.0, which brings numpy)
Each line: the type, the block's bytes in hexadecimal, the bits of its fp32 values in hexadecimal.
"""

import random
import struct

import gguf
import numpy as np

# Where the fp16 scales lie in a block, and how many blocks are made: 1.0-sized ones, small ones, subnormal ones.
TYPES = {"Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
BLOCKS = {"Q5_0": 6, "Q5_1": 6, "Q4_K": 3, "Q5_K": 3, "Q6_K": 3}


def scale(rng, index):
    exponent = (rng.randrange(14, 18), rng.randrange(1, 14), 0)[index % 3]
    return struct.pack("<H", rng.randrange(2) << 15 | exponent << 10 | rng.randrange(1024))


def main():
    rng = random.Random(20240817)
    print("# Made by tools/make_block_golden.py with gguf 0.19.0; see there.")
    for name, places in TYPES.items():
        kind = gguf.GGMLQuantizationType[name]
        _, size = gguf.GGML_QUANT_SIZES[kind]
        for index in range(BLOCKS[name]):
            block = bytearray(rng.randbytes(size))
            for place in places:
                block[place : place + 2] = scale(rng, index)
            values = gguf.quants.dequantize(np.frombuffer(bytes(block), dtype=np.uint8), kind)
            print(name, block.hex(), "".join(f"{bits:08x}" for bits in values.astype(np.float32).view(np.uint32)))


if __name__ == "__main__":
    main()
