// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>

#include "bindings.h"
#include "decode_plan.h"
#include "devices.h"
#include "errors.h"
#include "geometry.h"

namespace nb = nanobind;

namespace onebeat::python {
namespace {

using Numbers = std::vector<std::int32_t>;

void check(const DecodePlan& plan, const std::optional<Numbers>& lens,
           const std::optional<Numbers>& query_tokens) {
  const HostPlan host(plan);
  const Numbers lens_used = lens.value_or(host.lens());
  const Numbers query_tokens_used = query_tokens.value_or(host.query_tokens());
  if (lens_used.size() != query_tokens_used.size()) {
    raise_error(
        "InvalidArgumentError",
        fmt::format("lens has {} numbers and query_tokens {}; they must have one for each request",
                    lens_used.size(), query_tokens_used.size()));
  }
  raise_if_error(check_plan(host.view(), {.lens = lens_used, .query_tokens = query_tokens_used},
                            plan.planner().cost_model()));
}

nb::dict balance(const DecodePlan& plan) {
  const HostPlan host(plan);
  const PlanBalance b = balance_of(host.view(), plan.planner().cost_model());
  nb::dict out;
  out["balance"] = b.balance;
  out["workers_active"] = host.view().header().workers_active;
  out["largest_worker_cost"] = b.largest_worker_cost;
  out["total_cost"] = b.total_cost;
  out["segments"] = b.segments;
  out["split_units"] = b.split_units;
  out["scratch_rows"] = b.scratch_rows;
  return out;
}

std::string repr(const DecodePlan& plan) {
  const AttentionGeometry& g = plan.planner().geometry();
  return fmt::format("<DecodePlan of {} requests: {}/{} heads of {}, {} workers, on {}>",
                     plan.num_requests, g.num_heads, g.num_kv_heads, g.head_dim, g.workers,
                     device_text(plan.device()));
}

nb::bytes bytes_of(const DecodePlan& plan) {
  std::vector<std::max_align_t> copy;
  const std::span<const std::byte> bytes = plan.memory().on_host(copy, plan.stream);
  return nb::bytes(bytes.data(), bytes.size());
}

}  // namespace

HostPlan::HostPlan(const DecodePlan& plan)
    : view_(value_or_raise(
          PlanView::open(plan.memory().on_host(copy_, plan.stream), plan.planner().geometry()))) {}

std::vector<std::int32_t> HostPlan::lens() const {
  Numbers lens(view_.header().num_active);
  for (std::size_t r = 0; r < lens.size(); ++r)
    lens[r] = static_cast<std::int32_t>(view_.requests()[r].len);
  return lens;
}

std::vector<std::int32_t> HostPlan::query_tokens() const {
  Numbers tokens(view_.header().num_active);
  for (std::size_t r = 0; r < tokens.size(); ++r) {
    tokens[r] = static_cast<std::int32_t>(view_.query_tokens(static_cast<std::uint32_t>(r)));
  }
  return tokens;
}

void bind_plan(nb::module_& module) {
  nb::class_<DecodePlan>(
      module, "DecodePlan",
      R"(Who reads which KV tokens in one decode step, where partial results go and who merges them.

One plan serves all layers of its geometry. :class:`StepPlanner` makes it. Of a plan on a GPU, everything that shows
its contents copies it to the host and waits for its stream.)")
      .def_prop_ro("geometry",
                   [](const DecodePlan& p) {
                     return Geometry{p.planner().geometry(), p.planner().cost_model()};
                   })
      .def_prop_ro(
          "device", [](const DecodePlan& p) { return device_text(p.device()); },
          "``\"cpu\"`` or ``\"cuda:N\"``.")
      .def_prop_ro(
          "num_requests", [](const DecodePlan& p) { return p.num_requests; },
          "B, rows that the step had.")
      .def_prop_ro(
          "nbytes", [](const DecodePlan& p) { return p.memory().bytes().size(); },
          "Bytes of the plan.")
      .def_prop_ro(
          "data_ptr",
          [](const DecodePlan& p) {
            return reinterpret_cast<std::uintptr_t>(p.memory().bytes().data());
          },
          "Address of the plan's first byte, in the memory of its device.")
      .def_prop_ro(
          "lens", [](const DecodePlan& p) { return HostPlan(p).lens(); },
          "KV tokens of each request.")
      .def_prop_ro(
          "query_tokens", [](const DecodePlan& p) { return HostPlan(p).query_tokens(); },
          "Query tokens of each request.")
      .def(
          "check", &check, nb::arg("lens") = nb::none(), nb::arg("query_tokens") = nb::none(),
          R"(Proves that every (request, head, tile) is covered once and that no worker has more than its bound.

:param lens: KV tokens of each request that the plan must be for; ``None``: those that it holds.
:param query_tokens: query tokens of each request likewise.
:raises onebeat.InternalError: naming the first violation.)")
      .def("balance", &balance,
           "How evenly the plan divides the work: a dict; costs are in 1/256 tile.")
      .def(
          "to_json",
          [](const DecodePlan& p) { return to_json(HostPlan(p).view(), p.planner().cost_model()); },
          "What ``onebeat plan --format json`` writes.")
      .def(
          "svg",
          [](const DecodePlan& p) { return to_svg(HostPlan(p).view(), p.planner().cost_model()); },
          "A picture: a lane for each worker, a colour for each request.")
      .def("_repr_svg_",
           [](const DecodePlan& p) { return to_svg(HostPlan(p).view(), p.planner().cost_model()); })
      .def("__bytes__", &bytes_of)
      .def("__str__",
           [](const DecodePlan& p) {
             return to_string(HostPlan(p).view(), p.planner().cost_model());
           })
      .def("__repr__", &repr);
}

}  // namespace onebeat::python
