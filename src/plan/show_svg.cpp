// SPDX-License-Identifier: Apache-2.0
// A plan as a picture: a lane per worker, a colour per request, a notch where a unit is cut, a dot
// where it is merged.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "onebeat/plan.h"
#include "plan/division.h"

namespace onebeat {
namespace {

constexpr double kWidth = 1120;
constexpr double kLeft = 56;
constexpr double kTop = 76;
constexpr double kLegendHeight = 34;
constexpr double kMostLanesHeight = 800;

/// Hues a golden angle apart, so that neighbours differ; shades tell KV heads of one request apart.
std::string fill_of(std::uint32_t request, std::uint32_t kv_head) {
  const double hue = (static_cast<double>(request) * 137.508) -
                     360.0 * static_cast<int>(request * 137.508 / 360.0);
  return fmt::format("hsl({:.0f},{}%,{}%)", hue, 62, kv_head % 2 == 0 ? 52 : 62);
}

class Picture {
 public:
  Picture(const PlanView& plan, const CostModel& cost)
      : plan_(plan), cost_(cost), balance_(balance_of(plan, cost)) {
    const double lanes = std::max<double>(plan.header().workers_active, 1);
    lane_height_ = std::clamp(kMostLanesHeight / lanes, 3.0, 22.0);
    height_ = kTop + lanes * lane_height_ + kLegendHeight + 16;
    const auto largest =
        static_cast<double>(std::max<std::uint64_t>(balance_.largest_worker_cost, 1));
    scale_ = (kWidth - kLeft - 24) / largest;
  }

  std::string draw() {
    open();
    draw_mean();
    for (std::uint32_t w = 0; w < plan_.header().workers_active; ++w) draw_lane(w);
    draw_legend();
    out_ += "</svg>\n";
    return out_;
  }

 private:
  auto to() { return std::back_inserter(out_); }

  void open() {
    const AttentionGeometry& g = plan_.geometry();
    fmt::format_to(
        to(),
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" "
        "width=\"{:.0f}\" height=\"{:.0f}\" font-family=\"Helvetica,Arial,sans-serif\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        "<text x=\"{:.0f}\" y=\"30\" font-size=\"19\" font-weight=\"bold\" fill=\"#1d2733\">"
        "{} requests on {} of {} workers: balance {:.3f}</text>\n"
        "<text x=\"{:.0f}\" y=\"52\" font-size=\"13\" fill=\"#4d5966\">{} query / {} KV heads, "
        "head size {}, tiles of {} tokens{}; {} segments, {} units split, {} partial results"
        "</text>\n",
        kWidth, height_, kWidth, height_, kLeft, plan_.header().num_active,
        plan_.header().workers_active, plan_.header().workers, balance_.balance, kLeft, g.num_heads,
        g.num_kv_heads, g.head_dim, g.tile_tokens,
        g.window_left >= 0 ? fmt::format(", window {}", g.window_left) : "", balance_.segments,
        balance_.split_units, balance_.scratch_rows);
  }

  void draw_mean() {
    if (plan_.header().workers_active == 0) return;
    const double mean = static_cast<double>(balance_.total_cost) / plan_.header().workers_active;
    const double x = kLeft + mean * scale_;
    fmt::format_to(
        to(),
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#1d2733\" "
        "stroke-width=\"1\" stroke-dasharray=\"4 3\"/>\n"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" font-size=\"11\" text-anchor=\"middle\" "
        "fill=\"#1d2733\">mean</text>\n",
        x, kTop - 4, height_ - kLegendHeight - 10, kTop - 7);
  }

  void draw_lane(std::uint32_t w) {
    const double y = kTop + w * lane_height_;
    const double bar = std::max(lane_height_ - (lane_height_ > 6 ? 2.0 : 0.6), 1.0);
    const std::uint32_t step = lane_height_ >= 11 ? 1 : lane_height_ >= 5 ? 4 : 12;
    if (w % step == 0) {
      fmt::format_to(to(),
                     "<text x=\"{:.0f}\" y=\"{:.1f}\" font-size=\"10\" text-anchor=\"end\" "
                     "fill=\"#4d5966\">{}</text>\n",
                     kLeft - 6, y + bar * 0.5 + 3.5, w);
    }
    double x = kLeft;
    plan_.for_each_segment(w, [&](const Segment& s) { x = draw_segment(s, x, y, bar); });
  }

  double draw_segment(const Segment& s, double x, double y, double bar) {
    const std::uint64_t cost =
        std::uint64_t{plan::kTileCost} * (s.tile_end - s.tile_begin) + cost_.segment_overhead;
    const double width = static_cast<double>(cost) * scale_;
    const bool partial = s.partials > 0;
    fmt::format_to(
        to(),
        "<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\"{}>"
        "<title>request {} KV head {} tokens [{}, {}){}</title></rect>\n",
        x, y, std::max(width - 0.5, 0.3), bar, fill_of(s.request, s.kv_head),
        partial ? " stroke=\"#1d2733\" stroke-width=\"0.7\"" : "", s.request, s.kv_head,
        s.token_begin, s.token_end,
        partial ? fmt::format(", slot {}, one of {} partials merged at counter {}", s.slot,
                              s.partials, s.owner)
                : "");
    // The dot stands at the open end of a partial result: right where a unit is begun, left where
    // it is continued.
    if (partial) {
      const double radius = std::clamp(bar * 0.3, 1.2, 4.0);
      const double cx = s.slot % 2 == 1 ? x + width - radius - 1 : x + radius + 1;
      fmt::format_to(to(), "<circle cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"{:.2f}\" fill=\"#1d2733\"/>\n",
                     cx, y + bar * 0.5, radius);
    }
    return x + width;
  }

  void draw_legend() {
    constexpr std::uint32_t kMostEntries = 8;
    const double y = height_ - kLegendHeight + 8;
    const std::uint32_t shown = std::min(plan_.header().num_active, kMostEntries);
    double x = kLeft;
    for (std::uint32_t r = 0; r < shown; ++r) {
      fmt::format_to(
          to(),
          "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"12\" height=\"12\" fill=\"{}\"/>"
          "<text x=\"{:.0f}\" y=\"{:.0f}\" font-size=\"11\" fill=\"#4d5966\">r{}: {}</text>\n",
          x, y, fill_of(r, 0), x + 16, y + 10, r, plan_.requests()[r].len);
      x += 86;
    }
    fmt::format_to(
        to(),
        "<text x=\"{:.0f}\" y=\"{:.0f}\" font-size=\"11\" fill=\"#4d5966\">{}&#9679; partial "
        "result, merged by the last to arrive</text>\n",
        x, y + 10, plan_.header().num_active > shown ? "...  " : "");
  }

  const PlanView& plan_;
  const CostModel& cost_;
  PlanBalance balance_;
  double lane_height_ = 0;
  double height_ = 0;
  double scale_ = 0;
  std::string out_;
};

}  // namespace

std::string to_svg(const PlanView& plan, const CostModel& cost) {
  return Picture(plan, cost).draw();
}

}  // namespace onebeat
