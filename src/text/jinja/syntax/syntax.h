// SPDX-License-Identifier: Apache-2.0
// The syntax tree of a template. Nodes live in the template's own store and point to one another;
// no node is higher than kMaxHeight, so that recursion over the tree needs a bounded stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "onebeat/status.h"
#include "text/jinja/values/value.h"

namespace onebeat::jinja {

/// Bytes of a template's source.
inline constexpr std::size_t kMaxSourceBytes = std::size_t{1} << 20;
/// Brackets and blocks inside one another.
inline constexpr int kMaxNesting = 100;
/// Nodes on the way from a tree's root to its leaves.
inline constexpr int kMaxHeight = 150;

enum class ExprKind : std::uint8_t {
  kLiteral,    ///< value
  kName,       ///< name
  kList,       ///< args
  kTuple,      ///< args
  kDict,       ///< args: key, value, key, value ...
  kNegate,     ///< args[0]
  kPlus,       ///< args[0]
  kNot,        ///< args[0]
  kAnd,        ///< args, two or more
  kOr,         ///< args, two or more
  kBinary,     ///< name is the operator; args[0], args[1]
  kConcat,     ///< args, two or more
  kCompare,    ///< args[0], then one more for each of `operators`
  kCondition,  ///< args[0] if args[1] else args[2], which may be missing
  kAttribute,  ///< args[0].name
  kItem,       ///< args[0][args[1]]
  kSlice,      ///< args[0][args[1]:args[2]:args[3]]; those that are left out are null
  kCall,       ///< args[0] is called with the others and `named`
  kFilter,     ///< args[0] | name(the others and `named`)
  kTest,       ///< args[0] is name(the others)
};

struct Expr {
  ExprKind kind = ExprKind::kLiteral;
  int line = 1;
  int height = 1;
  std::string name;
  Value value;
  std::vector<const Expr*> args;
  std::vector<std::pair<std::string, const Expr*>> named;
  std::vector<std::string> operators;
};

enum class StatementKind : std::uint8_t {
  kText,    ///< text
  kOutput,  ///< expr
  kIf,      ///< branches: a condition, or null for `else`, and what it guards
  kFor,     ///< target in expr if filter: body; else: otherwise
  kSet,     ///< target = expr, or the output of the body, through `filters`, if expr is null
  kScope,   ///< `with` blocks and `generation` marks: the assignments, then the body
  kMacro,   ///< name, parameters, body
  kBreak,
  kContinue,
};

struct Statement;
using Block = std::vector<const Statement*>;

/// What is assigned to: names, or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  std::string attribute;  ///< Not empty: names[0].attribute.
  bool tuple = false;     ///< Unpacks, even into a single name.
};

struct Branch {
  const Expr* condition = nullptr;
  Block body;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 1;
  std::string text;
  const Expr* expr = nullptr;
  const Expr* filter = nullptr;
  Target target;
  std::vector<std::pair<std::string, const Expr*>> assignments;  ///< Also a macro's parameters.
  std::vector<Branch> branches;
  Block body;
  Block otherwise;
};

/// A parsed template. Moving it keeps all nodes in place.
struct Template {
  Block body;
  std::deque<Expr> exprs;
  std::deque<Statement> statements;
};

/// Parses a template. Errors: kInvalidArgument for what is no Jinja, kUnsupported for what is Jinja
/// but not of this subset (the message names it), kOutOfRange beyond the limits above; all with the
/// line.
Result<Template> parse(std::string_view source);

}  // namespace onebeat::jinja
