// SPDX-License-Identifier: Apache-2.0
// onebeat.StepPlanner.
#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "arrays/views.h"
#include "bindings.h"
#include "decode_plan.h"
#include "devices.h"
#include "errors.h"
#include "geometry.h"
#include "step_preparer.h"

namespace nb = nanobind;

namespace onebeat::python {
namespace {

using Plans = std::vector<std::shared_ptr<DecodePlan>>;

/// onebeat.StepPlanner.
class StepMaker {
 public:
  StepMaker(const std::vector<Geometry>& geometries, std::int32_t max_requests,
            std::int64_t max_context_tokens, int device)
      : preparer_(geometries, limits_of(geometries, max_requests, max_context_tokens), device) {}

  [[nodiscard]] const StepPreparer& preparer() const { return preparer_; }

  [[nodiscard]] Plans new_plans() const {
    Plans plans;
    for (std::int32_t c = 0; c < preparer_.planner().num_classes(); ++c) {
      plans.push_back(
          std::make_shared<DecodePlan>(preparer_.planner().planner(c), preparer_.device()));
    }
    return plans;
  }

  void prepare(nb::handle lens, nb::handle query_tokens, const Plans& plans, nb::handle stream) {
    const Tensor lens_tensor(lens, "lens"), tokens_tensor(query_tokens, "query_tokens");
    lens_tensor.require_device(preparer_.device(), "the planner");
    if (!tokens_tensor.empty()) tokens_tensor.require_device(preparer_.device(), "the planner");
    StepArguments step;
    step.lens = index_array(lens_tensor);
    step.query_tokens = index_array(tokens_tensor);
    step.num_requests = requests_of(lens_tensor);
    if (tokens_tensor.empty()) step.query_tokens_each = least_query_tokens();
    put_plans(plans, step);
    void* const on_stream = stream_of(stream, lens_tensor);
    preparer_.prepare(step, on_stream);
    for (const auto& plan : plans) {
      plan->num_requests = step.num_requests;
      plan->stream = on_stream;
    }
  }

 private:
  static StepLimits limits_of(const std::vector<Geometry>& geometries, std::int32_t max_requests,
                              std::int64_t max_context_tokens) {
    StepLimits limits{.max_requests = max_requests, .max_context_tokens = max_context_tokens};
    for (const Geometry& geometry : geometries) {
      limits.max_query_tokens = std::max(limits.max_query_tokens, geometry.fields.max_query_tokens);
    }
    return limits;
  }

  [[nodiscard]] std::int32_t least_query_tokens() const {
    std::int32_t least = preparer_.planner().limits().max_query_tokens;
    for (std::int32_t c = 0; c < preparer_.planner().num_classes(); ++c) {
      least = std::min(least, preparer_.planner().planner(c).geometry().max_query_tokens);
    }
    return least;
  }

  static std::int32_t requests_of(const Tensor& lens) {
    constexpr std::int64_t kMost = 1 << 30;
    return static_cast<std::int32_t>(
        std::min(lens.size(0), kMost));  // What is too many, the planner says.
  }

  void put_plans(const Plans& plans, StepArguments& step) const {
    const auto classes = static_cast<std::size_t>(preparer_.planner().num_classes());
    if (plans.size() != classes) {
      raise_error(
          "InvalidArgumentError",
          fmt::format("out has {} plans; the planner has {} geometries", plans.size(), classes));
    }
    for (std::size_t c = 0; c < classes; ++c) {
      const Planner& planner = preparer_.planner().planner(static_cast<std::int32_t>(c));
      const DecodePlan& plan = *plans[c];
      if (plan.planner().geometry() != planner.geometry() ||
          plan.memory().bytes().size() != planner.plan_bytes() ||
          plan.device() != preparer_.device()) {
        raise_error("PlanMismatchError", fmt::format("out[{}] is a plan of another geometry, other "
                                                     "limits or another device than the planner's",
                                                     c));
      }
      step.plans[c] = plan.memory().bytes().data();
    }
  }

  StepPreparer preparer_;
};

}  // namespace

void bind_step(nb::module_& module) {
  nb::class_<StepMaker>(module, "StepMaker")
      .def("__init__",
           [](StepMaker* self, const std::vector<Geometry>& geometries, std::int32_t max_requests,
              std::int64_t max_context_tokens, nb::handle device) {
             new (self)
                 StepMaker(geometries, max_requests, max_context_tokens, device_number(device));
           })
      .def("new_plans", &StepMaker::new_plans)
      .def("prepare", &StepMaker::prepare, nb::arg("lens"), nb::arg("query_tokens").none(),
           nb::arg("plans"), nb::arg("stream").none())
      .def_prop_ro("device", [](const StepMaker& m) { return device_text(m.preparer().device()); });
}

}  // namespace onebeat::python
