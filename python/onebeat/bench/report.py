# SPDX-License-Identifier: Apache-2.0
"""What was measured, as a table, JSON and a picture."""

from __future__ import annotations

from typing import Any

from onebeat.errors import UnavailableError


def table(report: dict[str, Any]) -> str:
    """Lines of text: a row for each case and candidate, the fastest of a case marked."""
    lines = [f"{report['facts']['device']}: {report['command']}, microseconds"]
    if "read_limit_gb_s" in report:
        lines[0] += f"; share of {report['read_limit_gb_s']:.0f} GB/s ({report['facts']['read_limit_by']})"
    width = max(len(row["name"]) for case in report["cases"] for row in case["rows"])
    for case in report["cases"]:
        lines.append(f"{case['requests']} requests of {case['context']} tokens")
        fastest = min(row["us"] for row in case["rows"] if "us" in row)
        for row in case["rows"]:
            if "error" in row:
                lines.append(f"  {row['name']:{width}}  {row['error']}")
                continue
            text = f"{'*' if row['us'] == fastest else ' '} {row['name']:{width}} {row['us']:10.2f}" \
                   f" ({row['us_least']:.2f} to {row['us_most']:.2f})"
            if "share" in row:
                text += f"  {row['share']:5.1%}"
            if "host_us" in row:
                text += f"  host {row['host_us']:.2f}"
            if row.get("agrees") is False:
                text += f"  WRONG by {row['largest_difference']:.3g}"
            lines.append(" " + text)
    lines += [f"absent: {name}: {reason}" for name, reason in report["absent"].items()]
    return "\n".join(lines)


def plot(report: dict[str, Any], path: str) -> None:
    """Time against length, and beside it the share of the read limit where there is one."""
    try:
        import matplotlib
    except ImportError as error:
        raise UnavailableError("a picture needs matplotlib, which is not installed") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shares = any("share" in row for case in report["cases"] for row in case["rows"])
    figure, axes = pyplot.subplots(1, 2 if shares else 1, figsize=(11 if shares else 6, 4.5), squeeze=False)
    names = list(dict.fromkeys(row["name"] for case in report["cases"] for row in case["rows"]))
    for axis, key, label in zip(axes[0], ("us", "share"), ("microseconds", "share of the read limit")):
        for name in names:
            points = [(case["context"], row[key]) for case in report["cases"] for row in case["rows"]
                      if row["name"] == name and key in row]
            if points:
                axis.plot(*zip(*points), marker="o", label=name)
        axis.set_xscale("log", base=2)
        axis.set_xlabel("tokens of each request")
        axis.set_ylabel(label)
        axis.set_yscale("log" if key == "us" else "linear")
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.suptitle(f"{report['command']}, {report['facts']['device']}")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
