// SPDX-License-Identifier: Apache-2.0
// Writes the worker records of a plan on the host. It walks requests and cuts together, so that all
// workers cost O(B + W); the device planner finds the same cuts by searching. Both take every
// number from division.h.
#pragma once

#include "plan/division.h"

namespace onebeat::plan {

class WorkerWriter {
 public:
  /// Borrows everything. Requires: request records and query offsets are written, `header` is
  /// theirs.
  WorkerWriter(const Division& division, const RequestRecord* requests,
               const std::uint32_t* query_begin, const PlanHeader& header, WorkerRecord* workers)
      : division_(division),
        requests_(requests),
        query_begin_(query_begin),
        header_(header),
        workers_(workers) {}

  /// Writes all W records.
  void write();

 private:
  [[nodiscard]] bool takes_part(std::uint32_t request) const;
  [[nodiscard]] std::uint32_t units(std::uint32_t request) const;
  [[nodiscard]] bool continues(const WorkerRecord& worker) const;
  Cut find_cut(const CutPlace& place);
  void set_begin(WorkerRecord& worker, Cut cut) const;
  void set_end(WorkerRecord& worker, Cut cut) const;
  void count_partials();

  const Division& division_;
  const RequestRecord* requests_;
  const std::uint32_t* query_begin_;
  const PlanHeader& header_;
  WorkerRecord* workers_;
  std::uint32_t cursor_ = 0;  // request of the last cut found
};

}  // namespace onebeat::plan
